//! The laws of a group, one by one; `model` checks them together over random histories.

use super::*;
use crate::{Message, MessageId, Settled, Timestamp};

mod handover;
mod model;
mod order;
mod restart;

/// A group over messages with these keys, and its clock.
struct Bench {
    group: Group,
    messages: Vec<Arc<Message>>,
    policy: Arc<RetryPolicy>,
    now: Moment,
}

impl Bench {
    fn new(keys: &[&str]) -> Self {
        let messages = keys.iter().enumerate().map(|(n, key)| message(n, key)).collect();
        let now = Moment { at: Instant::now(), wall: Timestamp::from_millis(1_000) };
        let policy = RetryPolicy {
            ack_wait: Duration::from_secs(30),
            max_deliver: 3,
            backoff: vec![Duration::from_secs(1), Duration::from_secs(5)],
        };
        Self { group: Group::new(0, 1), messages, policy: Arc::new(policy), now }
    }

    fn take(&mut self) -> Option<Taken> {
        self.take_as(1)
    }

    fn take_as(&mut self, member: u64) -> Option<Taken> {
        let messages = &self.messages;
        self.group.take(self.now, member, &self.policy, |offset| slot(messages, offset))
    }

    fn settle(&mut self, taken: &Taken, verb: &Verb) -> Outcome {
        self.group.settle(self.now, taken.offset, taken.epoch, verb, 0.5)
    }

    fn advance(&mut self, by: Duration) -> Vec<Story> {
        self.now.at += by;
        self.now.wall = self.now.wall.plus(by);
        self.group.expire(self.now.at)
    }

    fn restart(&mut self, generation: u32) {
        let bytes = self.group.snapshot(self.now);
        self.group = Group::restore(&bytes, self.now, generation).unwrap();
    }
}

fn message(n: usize, key: &str) -> Arc<Message> {
    let mut message = Message::new(MessageId::new(format!("m-{n}")).unwrap(), "x");
    message.key = (!key.is_empty()).then(|| key.to_owned());
    Arc::new(message)
}

fn slot(messages: &[Arc<Message>], offset: u64) -> Slot {
    messages.get(offset as usize).map_or(Slot::End, |message| Slot::Message(Arc::clone(message)))
}

fn nack(delay: Option<Duration>) -> Verb {
    Verb::Nack(Nack { delay, error: Some("boom".into()) })
}

#[test]
fn a_lease_ends_at_its_deadline_and_not_before() {
    let mut bench = Bench::new(&[""]);
    let first = bench.take().unwrap();
    assert_eq!(bench.group.next_deadline(), Some(bench.now.at + Duration::from_secs(30)));
    bench.advance(Duration::from_secs(30) - Duration::from_nanos(1));
    assert!(bench.take().is_none());
    bench.advance(Duration::from_nanos(1));
    let second = bench.take().unwrap();
    assert_eq!((second.offset, second.attempt), (0, 2));
    assert!(second.epoch > first.epoch);
}

#[test]
fn a_token_settles_after_its_lease_until_someone_takes_the_message() {
    let mut bench = Bench::new(&["", ""]);
    let late = bench.take().unwrap();
    let later = bench.take().unwrap();
    bench.advance(Duration::from_secs(31));
    assert_eq!(bench.settle(&late, &Verb::Ack), Outcome::Acked);
    assert_eq!(bench.take().unwrap().offset, 1);
    assert_eq!(bench.settle(&later, &Verb::Ack), Outcome::Stale);
}

#[test]
fn an_extension_takes_a_returned_lease_up_again() {
    let mut bench = Bench::new(&[""]);
    let taken = bench.take().unwrap();
    bench.advance(Duration::from_secs(30));
    let until = bench.now.at + Duration::from_secs(9);
    assert_eq!(bench.settle(&taken, &Verb::Extend(Duration::from_secs(9))), Outcome::Extended(until));
    assert!(bench.take().is_none());
    assert_eq!(bench.settle(&taken, &Verb::Ack), Outcome::Acked);
}

#[test]
fn a_token_is_used_up_by_what_it_said() {
    for verb in [Verb::Ack, nack(None), nack(Some(Duration::ZERO)), Verb::Reject { reason: "no".into() }] {
        let mut bench = Bench::new(&[""]);
        let taken = bench.take().unwrap();
        bench.settle(&taken, &verb);
        assert_eq!(bench.settle(&taken, &Verb::Ack), Outcome::Stale, "{verb:?}");
    }
}

#[test]
fn what_was_never_delivered_is_unknown() {
    let mut bench = Bench::new(&["k", "k"]);
    let taken = bench.take().unwrap();
    assert!(bench.take().is_none());
    for offset in [1, 2, u64::MAX] {
        assert_eq!(bench.group.settle(bench.now, offset, taken.epoch, &Verb::Ack, 0.5), Outcome::Unknown);
        assert_eq!(bench.group.settle(bench.now, offset, 0, &Verb::Ack, 0.5), Outcome::Unknown);
    }
}

#[test]
fn a_nack_backs_off_with_jitter_and_an_explicit_delay_wins() {
    let mut bench = Bench::new(&[""]);
    let taken = bench.take().unwrap();
    let low = bench.group.settle(bench.now, 0, taken.epoch, &nack(None), 0.0);
    assert_eq!(low, Outcome::Nacked(bench.now.at + Duration::from_millis(900)));
    bench.advance(Duration::from_millis(899));
    assert!(bench.take().is_none());
    bench.advance(Duration::from_millis(1));
    let taken = bench.take().unwrap();
    let exact = bench.settle(&taken, &nack(Some(Duration::from_secs(3))));
    assert_eq!(exact, Outcome::Nacked(bench.now.at + Duration::from_secs(3)));
    assert_eq!(bench.group.delayed(), 1);
}

#[test]
fn a_release_is_not_counted_unless_it_says_so() {
    let mut bench = Bench::new(&[""]);
    let first = bench.take().unwrap();
    assert_eq!(bench.settle(&first, &Verb::Release { counted: false }), Outcome::Released);
    assert_eq!(bench.settle(&first, &Verb::Release { counted: false }), Outcome::Released);
    let second = bench.take().unwrap();
    assert_eq!(second.attempt, 1);
    assert_eq!(bench.settle(&first, &Verb::Ack), Outcome::Stale);
    assert_eq!(bench.settle(&second, &Verb::Release { counted: true }), Outcome::Released);
    assert_eq!(bench.settle(&second, &Verb::Ack), Outcome::Acked, "nobody took it since");
}

#[test]
fn the_last_attempt_ends_among_the_dead_letters() {
    let mut bench = Bench::new(&[""]);
    let taken = bench.take().unwrap();
    bench.settle(&taken, &nack(Some(Duration::ZERO)));
    bench.take().unwrap();
    assert!(bench.group.return_member(1).is_empty());
    bench.take().unwrap();
    let dead = bench.advance(Duration::from_secs(30));
    let story = Story {
        offset: 0,
        reason: Reason::MaxDeliver,
        attempts: 3,
        first_error: Some("boom".into()),
        last_error: Some(LEASE_OVER.into()),
        first_delivered_at: Timestamp::from_millis(1_000),
    };
    assert_eq!(dead, [story]);
    assert!(bench.take().is_none());
    assert_eq!(bench.group.watermark(), 0, "not done before it is buried");
    bench.group.bury(0);
    assert_eq!(bench.group.watermark(), 1);
}

#[test]
fn fewer_attempts_allowed_later_count_as_well() {
    let mut bench = Bench::new(&[""]);
    for _ in 0..2 {
        let taken = bench.take().unwrap();
        bench.settle(&taken, &nack(Some(Duration::ZERO)));
    }
    bench.policy = Arc::new(RetryPolicy { max_deliver: 2, ..RetryPolicy::default() });
    assert!(bench.take().is_none());
    assert_eq!(bench.advance(Duration::ZERO).len(), 1);
}

#[test]
fn a_burial_that_failed_is_reported_again() {
    let mut bench = Bench::new(&["k", "k"]);
    let taken = bench.take().unwrap();
    let outcome = bench.settle(&taken, &Verb::Reject { reason: "bad".into() });
    let story = outcome.story().unwrap().clone();
    bench.group.bury_later(0, bench.now.at + Duration::from_secs(1));
    assert!(bench.take().is_none(), "its key waits");
    assert_eq!(bench.advance(Duration::from_secs(1)), [story]);
    bench.group.bury(0);
    assert_eq!(bench.take().unwrap().offset, 1);
}

#[test]
fn a_keys_next_message_waits_for_the_earlier_one() {
    let mut bench = Bench::new(&["k", "k", "other", "k"]);
    let first = bench.take().unwrap();
    assert_eq!(bench.take().unwrap().offset, 2, "other keys pass");
    bench.settle(&first, &nack(None));
    assert!(bench.take().is_none(), "a delayed message keeps its place");
    bench.advance(Duration::from_secs(2));
    let again = bench.take().unwrap();
    assert_eq!(again.offset, 0);
    bench.settle(&again, &Verb::Ack);
    assert_eq!(bench.take().unwrap().offset, 1);
    assert!(bench.take().is_none());
}

#[test]
fn parking_is_bounded() {
    let mut bench = Bench::new(&["k", "k", "k", "k", ""]);
    bench.group = Group::new(0, 1).with_max_held(2);
    let head = bench.take().unwrap();
    assert!(bench.take().is_none());
    assert_eq!((bench.group.held(), bench.group.frontier()), (2, 3));
    bench.settle(&head, &Verb::Ack);
    assert_eq!(bench.take().unwrap().offset, 1);
    assert_eq!(bench.take().map(|taken| taken.offset), None);
}

#[test]
fn a_member_gives_back_its_own_leases_only() {
    let mut bench = Bench::new(&["", "", ""]);
    bench.take_as(1);
    bench.take_as(2);
    bench.take_as(1);
    bench.group.return_member(1);
    assert_eq!((bench.group.leased_by(1), bench.group.leased_by(2), bench.group.ready()), (0, 1, 2));
    assert_eq!(bench.take_as(3).unwrap().offset, 0);
    assert_eq!(bench.take_as(3).unwrap().offset, 2);
}

#[test]
fn work_is_what_a_taker_would_find() {
    let mut bench = Bench::new(&["k", "k"]);
    assert!(!bench.group.has_work(0) && bench.group.has_work(2));
    let taken = bench.take_as(7).unwrap();
    assert_eq!((bench.group.lessee(0), bench.group.lessee(1)), (Some(7), None));
    assert!(bench.take().is_none());
    assert!(!bench.group.has_work(2), "the second is parked");
    bench.settle(&taken, &Verb::Ack);
    assert!(bench.group.has_work(2));
    bench.restart(2);
    assert!(bench.group.has_work(2));
}

#[test]
fn holes_are_passed_and_counted() {
    let mut bench = Bench::new(&["", "", "", "", ""]);
    let taken = bench.take().unwrap();
    bench.settle(&taken, &nack(Some(Duration::ZERO)));
    let messages = &bench.messages;
    let source = |offset| if offset < 3 { Slot::Hole { next: 3 } } else { slot(messages, offset) };
    let next = bench.group.take(bench.now, 1, &bench.policy, source).unwrap();
    assert_eq!(next.offset, 3);
    assert_eq!(bench.group.take_missed(), 3);
    assert_eq!(bench.group.watermark(), 3);
}

#[test]
fn trimming_leaves_a_running_lease_alone() {
    let mut bench = Bench::new(&["k", "k", "", ""]);
    let leased = bench.take().unwrap();
    let other = bench.take().unwrap();
    bench.settle(&other, &nack(None));
    bench.group.trim(4);
    assert_eq!((bench.group.held(), bench.group.watermark(), bench.group.take_missed()), (0, 0, 3));
    assert_eq!(bench.settle(&leased, &Verb::Ack), Outcome::Acked);
    assert_eq!(bench.group.watermark(), 4);
}

#[test]
fn error_texts_are_bounded() {
    let mut bench = Bench::new(&[""]);
    let taken = bench.take().unwrap();
    let outcome = bench.settle(&taken, &Verb::Reject { reason: "é".repeat(MAX_ERROR_BYTES) });
    let story = outcome.story().unwrap();
    assert_eq!(story.last_error.as_ref().unwrap().len(), MAX_ERROR_BYTES);
}
