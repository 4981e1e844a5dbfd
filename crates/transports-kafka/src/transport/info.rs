//! What there is: events, and what they hold.

use std::collections::HashMap;

use busgate_core::{Cursor, EventInfo, Result};

use super::KafkaTransport;
use crate::{asker::Bounds, event::Event, place::Place};

/// Topics of ours that are no event to anybody.
const PROBE: &str = super::probe::EVENT;

impl KafkaTransport {
    pub(super) async fn infos(&self) -> Result<Vec<EventInfo>> {
        self.shared.check_open()?;
        let mut events = self.shared.registry.all(&self.shared).await?;
        events.retain(|event| event.name.as_str() != PROBE);
        let topics = events.iter().map(|event| (event.topic.clone(), event.partitions())).collect();
        // A topic without a leader would keep the answer of all others.
        let bounds = self.shared.asker.bounds_of_all(topics).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "what the events hold can't be told");
            HashMap::new()
        });
        events.iter().map(|event| info(event, bounds.get(&event.topic))).collect()
    }
}

fn info(event: &Event, bounds: Option<&Vec<Bounds>>) -> Result<EventInfo> {
    let held = |bounds: &Bounds| u64::try_from(bounds.end - bounds.begin).unwrap_or(0);
    Ok(EventInfo {
        name: event.name.clone(),
        config: event.config.clone(),
        messages: bounds.map(|bounds| bounds.iter().map(held).sum()),
        bytes: None,
        oldest: bounds.and_then(|bounds| oldest(event, bounds)),
        newest: bounds.and_then(|bounds| newest(event, bounds)),
    })
}

/// The place of the oldest message of a partition: which partition's is the oldest of all is not known.
fn oldest(event: &Event, bounds: &[Bounds]) -> Option<Cursor> {
    let (own, first) = (0_u16..).zip(bounds).find(|(_, bounds)| bounds.end > bounds.begin)?;
    let mut next: Vec<i64> = bounds.iter().map(|bounds| bounds.begin).collect();
    *next.get_mut(usize::from(own))? = first.begin + 1;
    event.places(&next).of_message_in(own).to_cursor().ok()
}

/// The place of the newest message where only one partition has any, else of the end.
fn newest(event: &Event, bounds: &[Bounds]) -> Option<Cursor> {
    let mut held = (0_i32..).zip(bounds).filter(|(_, bounds)| bounds.end > bounds.begin);
    let (partition, last) = held.next()?;
    if held.next().is_none() {
        return event.own_cursor(Place { partition, offset: last.end - 1 }).ok();
    }
    let next: Vec<i64> = bounds.iter().map(|bounds| bounds.end).collect();
    let own = u16::try_from(partition).ok()?;
    event.places(&next).of_message_in(own).to_cursor().ok()
}
