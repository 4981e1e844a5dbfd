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
