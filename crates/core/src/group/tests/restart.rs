//! What a restart must not forget.

use proptest::prelude::*;

use super::*;

#[test]
fn a_restart_gives_leases_back_with_their_attempt_counted() {
    let mut bench = Bench::new(&["", ""]);
    let before = bench.take().unwrap();
    bench.restart(2);
    let after = bench.take().unwrap();
    assert_eq!((after.offset, after.attempt), (0, 2));
    assert!(after.epoch > before.epoch);
    assert_eq!(bench.settle(&before, &Verb::Ack), Outcome::Stale);
    assert_eq!(bench.take().unwrap().offset, 1);
}

#[test]
fn a_token_of_before_the_restart_settles_what_nobody_took_since() {
    let mut bench = Bench::new(&[""]);
    let taken = bench.take().unwrap();
    bench.restart(2);
    assert_eq!(bench.settle(&taken, &Verb::Ack), Outcome::Acked);
    assert!(bench.take().is_none());
    assert_eq!(bench.group.watermark(), 1);
}

#[test]
fn epochs_do_not_repeat_when_the_snapshot_was_old() {
    let mut bench = Bench::new(&[""]);
    let old = bench.group.snapshot(bench.now);
    let lost = bench.take().unwrap();
    bench.group = Group::restore(&old, bench.now, 2).unwrap();
    let taken = bench.take().unwrap();
    assert!(taken.epoch > lost.epoch);
    assert_eq!(bench.settle(&lost, &Verb::Ack), Outcome::Stale);
}

#[test]
fn a_delay_goes_on_by_the_wall_clock() {
    let mut bench = Bench::new(&[""]);
    let taken = bench.take().unwrap();
    bench.settle(&taken, &nack(Some(Duration::from_secs(10))));
    let bytes = bench.group.snapshot(bench.now);
    bench.now.wall = bench.now.wall.plus(Duration::from_secs(4));
    bench.group = Group::restore(&bytes, bench.now, 2).unwrap();
    assert_eq!(bench.group.next_deadline(), Some(bench.now.at + Duration::from_secs(6)));
    assert!(bench.take().is_none());
    bench.advance(Duration::from_secs(6));
    assert_eq!(bench.take().unwrap().attempt, 2);
    assert_eq!(bench.settle(&taken, &Verb::Ack), Outcome::Stale);
}

#[test]
fn a_keys_order_outlives_the_restart() {
    let mut bench = Bench::new(&["k", "k", "", "k"]);
    let first = bench.take().unwrap();
    bench.take().unwrap();
    bench.settle(&first, &nack(None));
    bench.restart(2);
    assert_eq!(bench.take().unwrap().offset, 2);
    assert!(bench.take().is_none());
    bench.advance(Duration::from_secs(2));
    let again = bench.take().unwrap();
    assert_eq!(again.offset, 0);
    bench.settle(&again, &Verb::Ack);
    let next = bench.take().unwrap();
    assert_eq!(next.offset, 1);
    bench.settle(&next, &Verb::Ack);
    assert_eq!(bench.take().unwrap().offset, 3);
}

#[test]
fn the_story_outlives_the_restart() {
    let mut bench = Bench::new(&[""]);
    let taken = bench.take().unwrap();
    bench.settle(&taken, &nack(Some(Duration::ZERO)));
    bench.restart(2);
    bench.take().unwrap();
    bench.restart(3);
    bench.take().unwrap();
    bench.restart(4);
    let dead = bench.advance(Duration::ZERO);
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].attempts, 3);
    assert_eq!(dead[0].first_error.as_deref(), Some("boom"));
    assert_eq!(dead[0].last_error.as_deref(), Some("the lease ended in a restart"));
    assert_eq!(dead[0].first_delivered_at, Timestamp::from_millis(1_000));
}

#[test]
fn a_letter_not_yet_buried_is_reported_after_the_restart() {
    let mut bench = Bench::new(&["k", "k"]);
    let taken = bench.take().unwrap();
    let outcome = bench.settle(&taken, &Verb::Reject { reason: "bad".into() });
    bench.restart(2);
    assert_eq!(bench.advance(Duration::ZERO), [outcome.story().unwrap().clone()]);
    assert!(bench.take().is_none());
    bench.group.bury(0);
    assert_eq!(bench.take().unwrap().offset, 1);
}

#[test]
fn the_policy_outlives_the_restart() {
    let mut bench = Bench::new(&[""]);
    let taken = bench.take().unwrap();
    bench.restart(2);
    let outcome = bench.settle(&taken, &nack(None));
    assert_eq!(outcome, Outcome::Nacked(bench.now.at + Duration::from_secs(1)));
}

fn rich() -> Bench {
    let mut bench = Bench::new(&["a", "a", "b", "", "", "c", ""]);
    let taken: Vec<_> = std::iter::from_fn(|| bench.take()).collect();
    bench.settle(&taken[0], &nack(None));
    bench.settle(&taken[1], &Verb::Reject { reason: "bad".into() });
    bench.settle(&taken[2], &Verb::Release { counted: true });
    bench.settle(&taken[3], &Verb::Ack);
    bench
}

#[test]
fn a_torn_snapshot_is_an_error() {
    let bench = rich();
    let bytes = bench.group.snapshot(bench.now);
    for end in 0..bytes.len() {
        assert!(Group::restore(&bytes[..end], bench.now, 2).is_err(), "{end}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(Group::restore(&longer, bench.now, 2).is_err());
    assert!(Group::restore(&bytes, bench.now, 2).is_ok());
}

#[test]
fn a_group_without_pending_messages_is_a_few_bytes() {
    let mut bench = Bench::new(&[""; 64]);
    while let Some(taken) = bench.take() {
        bench.settle(&taken, &Verb::Ack);
    }
    assert!(bench.group.snapshot(bench.now).len() < 40);
}

proptest! {
    #[test]
    fn a_damaged_snapshot_never_panics(flips in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4)) {
        let bench = rich();
        let mut bytes = bench.group.snapshot(bench.now);
        for (at, byte) in flips {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if let Ok(mut group) = Group::restore(&bytes, bench.now, 2) {
            group.expire(bench.now.at);
            while group.take(bench.now, 1, &bench.policy, |offset| slot(&bench.messages, offset)).is_some() {}
            prop_assert!(group.watermark() <= group.frontier());
            let again = group.snapshot(bench.now);
            prop_assert!(Group::restore(&again, bench.now, 3).is_ok());
        }
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let bench = Bench::new(&[]);
        let versioned = [&[1_u8][..], &bytes].concat();
        let _ = Group::restore(&bytes, bench.now, 1);
        let _ = Group::restore(&versioned, bench.now, 1);
    }
}

#[test]
fn a_delivery_that_the_snapshot_did_not_know_is_recalled() {
    let mut bench = Bench::new(&["k", "", "k", ""]);
    let old = bench.group.snapshot(bench.now);
    let (_, lost) = (bench.take().unwrap(), bench.take().unwrap());
    bench.group = Group::restore(&old, bench.now, 2).unwrap();
    assert_eq!(bench.settle(&lost, &Verb::Ack), Outcome::Unknown);
    bench.group.recall(lost.offset, lost.epoch);
    assert_eq!(bench.settle(&lost, &Verb::Ack), Outcome::Acked);
    bench.group.recall(lost.offset, lost.epoch);
    assert_eq!(bench.settle(&lost, &Verb::Ack), Outcome::Stale);
    let rest = [bench.take().unwrap().offset, bench.take().unwrap().offset];
    assert_eq!(rest, [0, 3], "the other message of the key waits");
    assert!(bench.take().is_none());
}

#[test]
fn nothing_of_this_generation_is_recalled() {
    let mut bench = Bench::new(&["", ""]);
    let old = bench.group.snapshot(bench.now);
    let lost = bench.take().unwrap();
    bench.group = Group::restore(&old, bench.now, 2).unwrap();
    let taken = bench.take().unwrap();
    bench.group.recall(lost.offset, lost.epoch);
    assert_eq!(bench.settle(&lost, &Verb::Ack), Outcome::Stale);
    bench.group.recall(1, taken.epoch + 1);
    let forged = Taken { offset: 1, epoch: taken.epoch + 1, ..taken.clone() };
    assert_eq!(bench.settle(&forged, &Verb::Ack), Outcome::Unknown);
    assert_eq!(bench.settle(&taken, &Verb::Ack), Outcome::Acked);
}
