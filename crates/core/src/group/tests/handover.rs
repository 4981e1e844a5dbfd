//! What the next owner of a group goes on with.

use super::*;

impl Bench {
    fn hand_over(&mut self, generation: u32) {
        let unfinished: Vec<_> = self.group.unfinished().collect();
        self.group = Group::resume(self.group.frontier(), generation, &self.policy, unfinished);
    }
}

#[test]
fn a_lease_runs_on_under_the_next_owner() {
    let mut bench = Bench::new(&["", ""]);
    let first = bench.take().unwrap();
    let second = bench.take().unwrap();
    bench.advance(Duration::from_secs(10));
    bench.hand_over(2);
    assert!(bench.take().is_none());
    assert_eq!(bench.settle(&first, &Verb::Ack), Outcome::Acked);
    bench.advance(Duration::from_secs(20));
    let again = bench.take().unwrap();
    assert_eq!((again.offset, again.attempt), (1, 2));
    assert!(again.epoch > second.epoch);
    assert_eq!(bench.settle(&second, &Verb::Ack), Outcome::Stale);
}

#[test]
fn what_is_done_delayed_or_spent_stays_so() {
    let mut bench = Bench::new(&["", "", ""]);
    let taken = [(); 3].map(|()| bench.take().unwrap());
    bench.settle(&taken[0], &nack(Some(Duration::from_secs(5))));
    bench.settle(&taken[1], &Verb::Ack);
    bench.settle(&taken[2], &Verb::Release { counted: false });
    bench.hand_over(2);
    assert_eq!(bench.settle(&taken[0], &Verb::Ack), Outcome::Stale);
    assert_eq!(bench.settle(&taken[1], &Verb::Ack), Outcome::Stale);
    assert_eq!(bench.take().map(|taken| (taken.offset, taken.attempt)), Some((2, 1)));
    assert!(bench.take().is_none());
    bench.advance(Duration::from_secs(5));
    assert_eq!(bench.take().map(|taken| (taken.offset, taken.attempt)), Some((0, 2)));
}

#[test]
fn a_keys_order_is_kept_by_the_next_owner() {
    let mut bench = Bench::new(&["k", "k", "j"]);
    let first = bench.take().unwrap();
    let other = bench.take().unwrap();
    assert_eq!(other.offset, 2);
    bench.hand_over(2);
    assert!(bench.take().is_none(), "the key's first message is in other hands still");
    bench.settle(&first, &Verb::Ack);
    assert_eq!(bench.take().unwrap().offset, 1);
}

#[test]
fn what_came_back_before_the_handover_holds_its_key_until_it_is_confirmed() {
    let mut bench = Bench::new(&["k", "k"]);
    let first = bench.take().unwrap();
    bench.settle(&first, &nack(Some(Duration::ZERO)));
    bench.hand_over(2);
    bench.group = bench.group.with_confirmed_order();
    let again = bench.take().unwrap();
    assert_eq!(bench.settle(&again, &Verb::Ack), Outcome::Acked);
    let mark = bench.group.settled();
    assert!(bench.take().is_none(), "a crash now would bring the first one back");
    bench.group.confirm(mark);
    assert_eq!(bench.take().unwrap().offset, 1);
}

#[test]
fn what_was_settled_before_its_key_was_looked_at_holds_all_keys_until_it_is_confirmed() {
    let mut bench = Bench::new(&["k", "k"]);
    let first = bench.take().unwrap();
    bench.hand_over(2);
    bench.group = bench.group.with_confirmed_order();
    assert_eq!(bench.settle(&first, &Verb::Ack), Outcome::Acked);
    assert!(bench.take().is_none(), "a crash now would bring the first one back");
    assert!(bench.group.confirm(bench.group.settled()));
    assert_eq!(bench.take().unwrap().offset, 1);
}

/// Hands over with the keys, and lets nobody look at the messages below `away`.
fn take_without(bench: &mut Bench, away: u64) -> Option<Taken> {
    let (messages, until) = (&bench.messages, bench.now.at + Duration::from_millis(20));
    let source = |offset| if offset < away { Slot::Away { until } } else { slot(messages, offset) };
    bench.group.take(bench.now, 1, &bench.policy, source)
}

#[test]
fn a_message_whose_key_is_known_holds_up_nobody_while_it_is_away() {
    let mut bench = Bench::new(&["k", "k", "", "j", "k"]);
    let first = bench.take().unwrap();
    bench.settle(&first, &nack(Some(Duration::ZERO)));
    let plain = bench.take_as(2).unwrap();
    assert_eq!(plain.offset, 0, "what came back is first");
    bench.settle(&plain, &nack(Some(Duration::from_secs(9))));
    assert_eq!(bench.take().unwrap().offset, 2);
    bench.hand_over(2);
    assert_eq!(take_without(&mut bench, 3).unwrap().offset, 3, "nothing below is looked at");
    assert!(take_without(&mut bench, 3).is_none(), "the key waits for its first message");
}

#[test]
fn what_is_away_is_asked_for_again_and_keeps_its_attempts() {
    let mut bench = Bench::new(&["", ""]);
    let first = bench.take().unwrap();
    bench.settle(&first, &nack(Some(Duration::ZERO)));
    assert_eq!(take_without(&mut bench, 1).unwrap().offset, 1);
    assert!(bench.take().is_none());
    bench.advance(Duration::from_millis(20));
    let again = bench.take().unwrap();
    assert_eq!((again.offset, again.attempt), (0, 2));
}

#[test]
fn only_what_waits_for_something_else_sleeps() {
    let mut bench = Bench::new(&["k", "k", "", ""]);
    let first = bench.take().unwrap();
    let plain = bench.take().unwrap();
    let back = bench.take().unwrap();
    bench.settle(&plain, &nack(None));
    bench.settle(&back, &nack(Some(Duration::ZERO)));
    let asleep = |bench: &Bench, until| -> Vec<_> {
        (0..5).filter(|offset| bench.group.is_asleep(*offset, until)).collect()
    };
    let now = bench.now.at;
    assert_eq!(asleep(&bench, now), [0, 1, 2], "leased, parked and delayed");
    assert_eq!(asleep(&bench, now + Duration::from_secs(2)), [0, 1], "the delay is over before");
    assert_eq!(bench.settle(&first, &Verb::Ack), Outcome::Acked);
    assert_eq!(asleep(&bench, now), [2], "the next of the key is for a taker");
    let from: Vec<_> = bench.group.unfinished_from(2).map(|known| known.offset).collect();
    assert_eq!(from, [2, 3]);
}
