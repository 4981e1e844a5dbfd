//! Retention by count, which Kafka does not have: the oldest records of events that were published to are deleted.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use busgate_core::Result;
use tokio::time::sleep;

use crate::{asker::Bounds, event::Event, shared::Shared};

/// How often it is looked whether there are too many.
const TURN: Duration = Duration::from_secs(1);

/// After how many turns an event is looked at that is published to all the time.
const RESTLESS: u16 = 10;

/// After how many turns also those are looked at that only others publish to.
const ALL: u32 = 60;

/// Keeps events within their count until the node ends.
pub(crate) async fn run(shared: Weak<Shared>) {
    let mut turn = 0_u32;
    loop {
        sleep(TURN).await;
        let Some(shared) = shared.upgrade() else { return };
        turn = turn.wrapping_add(1);
        for event in shared.registry.known() {
            let Some(keep) = shared.config.effective(&event.config).retention_messages else { continue };
            // Each node looks after what it has published to itself, once that rests.
            if !event.is_settled(RESTLESS) && !turn.is_multiple_of(ALL) {
                continue;
            }
            if let Err(error) = trim(&shared, &event, keep).await {
                tracing::debug!(%error, event = %event.name, "the event holds more than it should");
                event.set_published();
            }
        }
    }
}

async fn trim(shared: &Arc<Shared>, event: &Event, keep: u64) -> Result<()> {
    let bounds = shared.asker.bounds(&event.topic, event.partitions()).await?;
    let before = cut(&bounds, keep);
    if before.is_empty() {
        return Ok(());
    }
    shared.admin.trim(&event.topic, &before).await
}

/// Where each partition is cut so that `keep` records stay: each keeps as large a part as it has.
fn cut(bounds: &[Bounds], keep: u64) -> Vec<(i32, i64)> {
    let held = |bounds: &Bounds| u128::try_from(bounds.end - bounds.begin).unwrap_or(0);
    let all: u128 = bounds.iter().map(held).sum();
    if all <= u128::from(keep) {
        return Vec::new();
    }
    let cut = |(partition, bounds): (i32, &Bounds)| {
        let stays = (u128::from(keep) * held(bounds)).div_ceil(all);
        let before = bounds.end - i64::try_from(stays).unwrap_or(i64::MAX);
        (before > bounds.begin).then_some((partition, before))
    };
    (0..).zip(bounds).filter_map(cut).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_fits_is_left_alone() {
        assert_eq!(cut(&[Bounds { begin: 5, end: 13 }, Bounds { begin: 0, end: 2 }], 10), []);
    }

    #[test]
    fn one_partition_keeps_the_newest() {
        assert_eq!(cut(&[Bounds::default(), Bounds { begin: 5, end: 25 }], 8), [(1, 17)]);
    }

    proptest! {
        #[test]
        fn as_many_stay_as_are_asked_for(
            sizes in prop::collection::vec((0_i64..1000, 0_i64..1000), 1..8),
            keep in 1_u64..500,
        ) {
            let bounds: Vec<_> =
                sizes.iter().map(|(begin, size)| Bounds { begin: *begin, end: begin + size }).collect();
            let cut = cut(&bounds, keep);
            let stays: i64 = (0..).zip(&bounds).map(|(partition, bounds)| {
                let before = cut.iter().find(|(cut, _)| *cut == partition);
                bounds.end - before.map_or(bounds.begin, |(_, before)| *before)
            }).sum();
            let all: i64 = sizes.iter().map(|(_, size)| size).sum();
            let stays = u64::try_from(stays).unwrap();
            prop_assert!(stays >= keep.min(u64::try_from(all).unwrap()));
            prop_assert!(stays <= keep + bounds.len() as u64);
        }
    }
}
