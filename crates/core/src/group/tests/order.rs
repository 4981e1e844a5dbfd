//! A key's order when what is done may still be forgotten.

use super::*;

fn confirming(keys: &[&str]) -> Bench {
    let mut bench = Bench::new(keys);
    bench.group = Group::new(0, 1).with_confirmed_order();
    bench
}

#[test]
fn a_keys_next_message_waits_for_the_confirmation() {
    let mut bench = confirming(&["k", "k", "k", ""]);
    let first = bench.take().unwrap();
    assert_eq!(bench.settle(&first, &Verb::Ack), Outcome::Acked);
    assert_eq!(bench.take().unwrap().offset, 3, "one without a key waits for nobody");
    assert!(bench.take().is_none());
    bench.group.confirm(bench.group.settled());
    let second = bench.take().unwrap();
    assert_eq!(second.offset, 1);
    assert!(bench.take().is_none(), "one at a time");
}

#[test]
fn a_confirmation_is_for_what_was_done_before_its_mark() {
    let mut bench = confirming(&["k", "l", "k", "l"]);
    let (first, second) = (bench.take().unwrap(), bench.take().unwrap());
    bench.settle(&first, &Verb::Ack);
    let mark = bench.group.settled();
    bench.settle(&second, &Verb::Ack);
    bench.group.confirm(mark);
    bench.group.confirm(mark);
    assert_eq!(bench.take().unwrap().offset, 2);
    assert!(bench.take().is_none());
    bench.group.confirm(bench.group.settled());
    assert_eq!(bench.take().unwrap().offset, 3);
}

#[test]
fn a_crash_before_the_confirmation_keeps_the_order() {
    let mut bench = confirming(&["k", "k"]);
    let first = bench.take().unwrap();
    let remembered = bench.group.snapshot(bench.now);
    bench.settle(&first, &Verb::Ack);
    assert!(bench.take().is_none(), "the crash would bring back the first after the second");
    bench.group = Group::restore(&remembered, bench.now, 2).unwrap().with_confirmed_order();
    let again = bench.take().unwrap();
    assert_eq!((again.offset, again.attempt), (0, 2));
    assert!(bench.take().is_none());
}

#[test]
fn a_buried_message_holds_its_key_until_the_confirmation() {
    let mut bench = confirming(&["k", "k"]);
    let first = bench.take().unwrap();
    bench.settle(&first, &Verb::Reject { reason: "no".into() });
    bench.group.bury(first.offset);
    assert!(bench.take().is_none());
    bench.group.confirm(bench.group.settled());
    assert_eq!(bench.take().unwrap().offset, 1);
}
