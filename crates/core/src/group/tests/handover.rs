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
