"""The verdict itself: a good history passes, and each law is broken by a history that breaks nothing else."""

import unittest

from journal import Delivery, Journal, Message, Settle
from verdict import Verdict

ACK_WAIT, BACKOFF, MAX_DELIVER = 1.5, [0.1, 0.3], 3


class History:
    """A journal written by hand, in seconds since its beginning."""

    def __init__(self):
        self.journal = Journal()
        self.journal.began = 0.0
        self.dead = {}

    def message(self, key="", place=0, at=1.0, poison=False, **fields):
        fields = {"accepted": at + 0.01, "cursor": f"c{place}"} | fields
        return self.journal.message(Message(f"{key}-{place}", key, place, b"x", poison, [(at, "tried")], **fields))

    def got(self, message, at, retries=0, who="a", connection=1, **fields):
        self.journal.connections.setdefault((who, connection), [0.5, None, ""])
        fields = {"cursor": message.cursor, "key": message.key, "payload": message.payload} | fields
        delivery = Delivery(message.id, who, connection, at, retries, ack_id="", **fields)
        self.journal.got(delivery)
        return delivery

    def violations(self):
        verdict = Verdict(self.journal, self.dead, ACK_WAIT, BACKOFF, MAX_DELIVER)
        verdict.judge()
        return [violation.splitlines()[0] for violation in verdict.violations]


def settle(delivery, verb, sent, status=None, seconds=None):
    answered = None if status is None else sent + 0.01
    delivery.settles.append(Settle(verb, sent, seconds, answered, status))


class Laws(unittest.TestCase):
    def setUp(self):
        self.history = History()

    def breaks(self, *wanted):
        found = self.history.violations()
        self.assertEqual(len(found), len(wanted), found)
        for violation, part in zip(found, wanted):
            self.assertIn(part, violation)

    def acked(self, message, at, retries=0, **fields):
        settle(self.history.got(message, at, retries, **fields), "ack", at + 0.05, "acked")

    def test_a_good_history(self):
        first, second = self.history.message("k", 0), self.history.message("k", 1)
        nacked = self.history.got(first, 1.1)
        settle(nacked, "nack", 1.2, "nacked", 0.5)
        self.acked(first, 1.8, 1)
        self.acked(second, 1.9)
        self.breaks()

    def test_an_accepted_message_arrives(self):
        self.history.message()
        self.breaks("never delivered")

    def test_an_accepted_message_is_acked_or_dies(self):
        settle(self.history.got(self.history.message(), 1.1), "nack", 1.2, "nacked")
        self.breaks("nobody acked it")

    def test_a_refused_message_need_not_arrive(self):
        self.history.message(accepted=None)
        self.breaks()

    def test_a_stale_ack_is_none(self):
        settle(self.history.got(self.history.message(), 1.1), "ack", 1.2, "stale")
        self.breaks("nobody acked it")

    def test_a_message_is_there_once(self):
        message = self.history.message()
        settle(self.history.got(message, 1.1, cursor="elsewhere"), "ack", 1.2, "acked")
        self.breaks("several places")

    def test_a_payload_is_kept(self):
        message = self.history.message()
        settle(self.history.got(message, 1.1, payload=b"y"), "ack", 1.2, "acked")
        self.breaks("another payload")

    def test_nothing_is_acked_twice(self):
        message = self.history.message()
        self.acked(message, 1.1)
        self.acked(message, 1.2, 1, who="b")
        # The second one also broke into a lease.
        self.assertTrue(any("answered `acked` 2 times" in violation for violation in self.history.violations()))

    def test_nothing_comes_again_after_its_ack_was_answered(self):
        message = self.history.message()
        self.acked(message, 1.1)
        settle(self.history.got(message, 9.0, 1, who="b"), "ack", 9.1, "stale")
        self.breaks("after its ack was answered")

    def test_what_was_under_way_may_be_read_after_the_answer(self):
        message = self.history.message()
        late = self.history.got(message, 3.2, 0, who="slow")
        self.acked(message, 3.1, 1)
        settle(late, "ack", 3.3, "stale")
        self.history.journal.connections["slow", 1][1:] = 2.5, "dropped"
        self.breaks()

    def test_retries_do_not_shrink(self):
        message = self.history.message()
        settle(self.history.got(message, 1.1, 0), "nack", 1.2, "nacked")
        settle(self.history.got(message, 2.0, 1), "nack", 2.1, "nacked")
        self.acked(message, 4.0, 0)
        self.breaks("retry 0, not 2 to 2")

    def test_retries_do_not_jump(self):
        message = self.history.message()
        settle(self.history.got(message, 1.1, 0), "nack", 1.2, "nacked")
        self.acked(message, 4.0, 2)
        self.breaks("retry 2, not 1 to 1")

    def test_a_first_delivery_is_the_first(self):
        self.acked(self.history.message(), 1.1, 1)
        self.breaks("retry 1, not 0 to 0")

    def test_a_drain_hands_back_uncounted_and_a_kill_may_forget(self):
        for kind in ("drain", "kill"):
            self.history = History()
            message = self.history.message()
            self.history.got(message, 1.1, 0)
            self.history.journal.gateway += [(1.2, kind), (1.3, "gone"), (1.4, "ready")]
            self.acked(message, 1.5, 0)
            self.breaks()

    def test_a_kill_forgets_no_older_attempt(self):
        message = self.history.message()
        settle(self.history.got(message, 1.1, 0), "nack", 1.2, "nacked", 3)
        self.history.journal.gateway += [(3.2, "kill"), (3.3, "gone"), (3.4, "ready")]
        self.acked(message, 4.5, 0)
        self.breaks("retry 0, not 1 to 2")

    def test_a_lease_is_held(self):
        message = self.history.message()
        self.history.got(message, 1.1, 0)
        self.acked(message, 1.4, 1, who="b")
        self.breaks("before the lease of a was over")

    def test_an_extension_is_held(self):
        message = self.history.message()
        settle(self.history.got(message, 1.1, 0), "extend", 2.0, "extended", 3)
        self.acked(message, 4.9, 1, who="b")
        self.breaks("before the lease of a was over")

    def test_a_lost_connection_frees_its_leases(self):
        message = self.history.message()
        self.history.got(message, 1.1, 0)
        self.history.journal.lost("a", 1, "dropped")
        self.history.journal.connections["a", 1][1] = 1.2
        self.acked(message, 1.4, 1, who="b")
        self.breaks()

    def test_a_delay_is_waited_for_through_a_restart_too(self):
        message = self.history.message()
        settle(self.history.got(message, 1.1, 0), "nack", 1.2, "nacked", 2)
        self.history.journal.gateway += [(1.5, "kill"), (1.6, "gone"), (1.7, "ready")]
        self.acked(message, 3.0, 1)
        self.breaks("before its delay was over")

    def test_a_backoff_is_waited_for(self):
        message = self.history.message()
        settle(self.history.got(message, 1.1, 0), "nack", 1.2, "nacked")
        self.acked(message, 1.25, 1)
        self.breaks("before its delay was over")

    def test_attempts_end(self):
        message = self.history.message()
        for retries in range(3):
            settle(self.history.got(message, 1.1 + retries, retries), "nack", 1.2 + retries, "nacked")
        self.acked(message, 5.0, 3)
        self.breaks("more often than it may be delivered")

    def test_a_dead_letter_used_up_its_attempts(self):
        message = self.history.message()
        settle(self.history.got(message, 1.1, 0), "nack", 1.2, "nacked")
        self.history.dead[message.id] = [{"attempts": "3"}]
        self.breaks("was seen 1 times")

    def test_a_dead_letter_is_one(self):
        message = self.history.message(poison=True)
        for retries in range(3):
            settle(self.history.got(message, 1.1 + retries, retries), "nack", 1.2 + retries, "nacked")
        self.history.dead[message.id] = [{"attempts": "3"}] * 2
        self.breaks("2 times")

    def test_a_dead_letter_was_not_acked(self):
        message = self.history.message()
        for retries in range(2):
            settle(self.history.got(message, 1.1 + retries, retries), "nack", 1.2 + retries, "nacked")
        self.acked(message, 4.0, 2)
        self.history.dead[message.id] = [{"attempts": "3"}]
        self.breaks("its ack was answered")

    def test_poison_dies(self):
        message = self.history.message(poison=True)
        settle(self.history.got(message, 1.1, 0), "ack", 1.2)
        self.breaks("is no dead letter")

    def test_a_keys_next_message_waits(self):
        first, second = self.history.message("k", 0), self.history.message("k", 1)
        settle(self.history.got(first, 1.1), "nack", 1.15, "nacked", 0.5)
        self.acked(second, 1.3)
        self.acked(first, 1.7, 1)
        self.breaks("before it was settled")

    def test_a_key_does_not_go_back(self):
        first, second = self.history.message("k", 0), self.history.message("k", 1)
        settle(self.history.got(first, 1.1), "ack", 1.2)
        self.history.got(second, 1.3)
        self.history.journal.gateway += [(1.4, "kill"), (1.5, "gone"), (1.6, "ready")]
        self.acked(first, 2.0, 1)
        self.acked(second, 2.1, 1)
        self.breaks("after the next message of its key")

    def test_a_stream_ends_with_unavailable(self):
        ends = {"dropped": 0, "AioRpcError: UNAVAILABLE": 0, "over": 0, "ended with OK": 1, "AioRpcError: INTERNAL": 1}
        for why, wrong in ends.items():
            self.history = History()
            self.history.journal.connections["seed-0", 1] = [0.5, 2.0, why]
            self.breaks(*[why] * wrong)

    def test_what_nobody_published_is_nothing(self):
        stranger = Message("stranger", "", 0, b"x", False)
        self.history.got(stranger, 1.1)
        self.history.dead["another"] = [{"attempts": "3"}]
        self.breaks("nobody published", "nobody published it")


if __name__ == "__main__":
    unittest.main()
