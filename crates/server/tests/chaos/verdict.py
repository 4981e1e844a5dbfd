"""The judgement: what the journal shows must agree with the delivery contract, message by message.

Times are of this process, which sees an answer or a message a little after it was sent. So a message that was under way
already may be read after the answer that settled it; by how much is bounded by `margin`, from the longest time for which
this process did not look at its sockets (its libraries have queues and threads of their own: twice that, and a bit). Beyond
the margin, and wherever an answer or an attempt's number itself proves it, nothing is excused.
"""

from collections import defaultdict

# An attempt is written down soon after its delivery: a kill within this time may forget that it was counted.
UNCOUNTED = 0.5

# How early a lease or a delay may seem to end: the clocks of two processes and the rounding to milliseconds.
EARLY = 0.02


class Verdict:
    def __init__(self, journal, dead, ack_wait, backoff, max_deliver):
        self.journal, self.dead = journal, dead
        self.ack_wait, self.backoff, self.max_deliver = ack_wait, backoff, max_deliver
        self.margin = 0.5 + 2 * journal.lag
        self.checks = 0
        self.violations = []

    def judge(self):
        for what in self.journal.strange:
            self.violations.append(what)
        for message in self.journal.messages.values():
            for law in (self.arrives, self.is_itself, self.stays_done, self.counts, self.is_held, self.waits, self.dies):
                self._apply(law, message)
        keys = defaultdict(list)
        for message in self.journal.messages.values():
            if message.key:
                keys[message.key].append(message)
        for messages in keys.values():
            messages.sort(key=lambda message: message.place)
            self.keeps_order(messages)
        for (who, connection), (_, lost, why) in self.journal.connections.items():
            self.ends(f"{who}#{connection}", lost, why)
        for id_ in set(self.dead) - set(self.journal.messages):
            self.violations.append(f"{id_} is a dead letter, but nobody published it")

    def _apply(self, law, message):
        for what in law(message):
            self.blame(what, message)

    def blame(self, what, *messages):
        self.violations.append("\n".join([what, *map(self.journal.story, messages)]))

    def holds(self, fact):
        self.checks += 1
        return not fact

    def arrives(self, message):
        """Every accepted publish was delivered, and somebody acked it or its attempts were used up."""
        if message.accepted is None:
            return
        if self.holds(message.deliveries):
            yield "it was accepted and never delivered"
        elif message.id not in self.dead:
            settled = [s for d in message.deliveries for s in d.settles
                       if s.verb == "ack" and s.status in (None, "acked", "unavailable")]
            if self.holds(settled):
                yield "it was accepted and delivered, it is gone, and nobody acked it"

    def is_itself(self, message):
        """Payload, key and place are those of the publish: it is there once."""
        places = {d.cursor for d in message.deliveries} | {message.cursor}
        if self.holds(len(places - {""}) <= 1):
            yield f"it is at several places: {places}"
        for d in message.deliveries:
            if self.holds(d.payload == message.payload and d.key in ("", message.key)):
                yield f"{d.who} got another payload or key"

    def stays_done(self, message):
        """What was answered `acked` is not delivered again after that answer, and nothing is acked twice."""
        acked = [(s.answered, d.retries) for d in message.deliveries for s in d.settles if s.status == "acked"]
        if self.holds(len(acked) <= 1):
            yield f"it was answered `acked` {len(acked)} times"
        if not acked:
            return
        done, retries = min(acked)
        for d in message.deliveries:
            # An earlier attempt was sent earlier, however late it was read.
            if self.holds(d.at <= done + self.margin or d.retries < retries):
                yield f"{d.who} got it {d.at - done:.3f} s after its ack was answered"

    def ends(self, stream, lost, why):
        """A gRPC stream that its client did not end ends with UNAVAILABLE: OK would be for good."""
        if lost is None or why in ("dropped", "over") or not stream.startswith(("consume", "seed")):
            return
        if "Internal error from Core" in why:
            return  # the library's own word for a frame that it could not send any more
        if self.holds("UNAVAILABLE" in why):
            self.violations.append(f"{stream} ended at {lost - self.journal.began:.3f}: {why}")

    def in_order(self, message):
        """Deliveries by attempt, where they were read too close together to tell."""
        deliveries = sorted(message.deliveries, key=lambda d: d.at)
        for n in range(len(deliveries) - 1, 0, -1):
            for m in range(n):
                a, b = deliveries[m], deliveries[m + 1]
                if b.retries < a.retries and b.at - a.at <= self.margin:
                    deliveries[m], deliveries[m + 1] = b, a
        return deliveries

    def disruptions(self, begin, end):
        """How many deliveries may have been lost on their way to a member.

        The gateway sees a bit later than its member that a connection is lost, and may hand it something until then.
        """
        begin -= self.margin
        return self.journal.lost_between(begin, end) + self.journal.gateway_between(begin, end, "kill", "drain")

    def counts(self, message):
        """`retry_count` is how often it was delivered before: by one more each time, but for what nobody got to see."""
        before = None
        for d in self.in_order(message):
            if before is None:
                least, since = 0, message.tries[0][0]
                most = self.disruptions(since, d.at)
            else:
                most = before.retries + 1 + self.disruptions(before.at, d.at)
                # It may have been read late, when the gateway that sent it was going already.
                since = before.at - self.margin
                handed_back = self.journal.gateway_between(since, d.at, "drain")
                forgotten = self.journal.gateway_between(since, min(d.at, before.at + UNCOUNTED), "kill")
                least = before.retries + (0 if handed_back or forgotten else 1)
            if self.holds(least <= d.retries <= most):
                yield f"{d.who} got it with retry {d.retries}, not {least} to {most}"
            if self.holds(d.retries < self.max_deliver):
                yield f"{d.who} got it more often than it may be delivered"
            before = d

    def is_held(self, message):
        """While a lease runs nobody else gets the message."""
        deliveries = self.in_order(message)
        for d, after in zip(deliveries, deliveries[1:]):
            if any(s.verb == "nack" and s.sent < after.at for s in d.settles):
                continue
            lost = self.journal.connections[d.who, d.connection][1]
            if lost is not None and lost < after.at:
                continue
            if self.journal.gateway_between(d.at - self.margin, after.at, "kill", "drain"):
                continue
            until = d.at + self.ack_wait - self.margin
            for s in d.settles:
                if s.status == "extended" and s.answered < after.at:
                    until = max(until, s.sent + s.seconds - EARLY)
            if self.holds(after.at >= until):
                yield f"{after.who} got it {until - after.at:.3f} s before the lease of {d.who} was over"

    def waits(self, message):
        """A nacked message comes back after its delay, or its backoff, and not before: a restart is no excuse."""
        deliveries = self.in_order(message)
        for d, after in zip(deliveries, deliveries[1:]):
            for s in d.settles:
                if s.status != "nacked":
                    continue
                backoff = self.backoff[min(d.retries, len(self.backoff) - 1)] * 0.9
                due = s.sent + (backoff if s.seconds is None else s.seconds) - EARLY
                if self.holds(after.at >= due):
                    yield f"{after.who} got it {due - after.at:.3f} s before its delay was over"

    def dies(self, message):
        """Dead letters are those whose attempts were used up, once each, and none of them was acked."""
        entries = self.dead.get(message.id, [])
        if not entries:
            if message.poison and message.accepted is not None and self.holds(entries):
                yield "it was never acked and is no dead letter"
            return
        if self.holds(len(entries) == 1):
            yield f"it is a dead letter {len(entries)} times"
        if self.holds(message.first_acked() is None):
            yield "it is a dead letter, and its ack was answered"
        seen = max((d.retries for d in message.deliveries), default=-1) + 1
        unseen = self.disruptions(message.tries[0][0], float("inf"))
        if self.holds(int(entries[0]["attempts"]) == self.max_deliver and seen + unseen >= self.max_deliver):
            yield f"it is a dead letter of {entries[0]}, and was seen {seen} times"

    def keeps_order(self, messages):
        """A key's next message is delivered when the earlier one is settled, and then that one never comes again."""
        for earlier, later in zip(messages, messages[1:]):
            if not later.deliveries:
                continue
            first = min(d.at for d in later.deliveries)
            acks = [s for d in earlier.deliveries for s in d.settles
                    if s.verb == "ack" and s.sent < first and s.status in (None, "acked", "unavailable")]
            settled = acks or earlier.id in self.dead or earlier.accepted is None
            if self.holds(settled):
                self.blame("the next message of its key was delivered before it was settled", earlier, later)
            reached = max((d.retries for d in earlier.deliveries for s in acks if s in d.settles), default=0)
            again = [d for d in earlier.deliveries if d.at > first + self.margin and d.retries >= reached]
            if self.holds(not again):
                self.blame("it was delivered after the next message of its key", earlier, later)
