//! Where a subscription or a read starts.

use std::{sync::Arc, time::Duration};

use busgate_core::{Cursor, Gap, Message, Places, Position, Result, Start};
use tokio::time::Instant;

use crate::{
    asker::Bounds,
    event::{Event, untold},
    place::Place,
    reader::Limit,
    shared::Shared,
};

/// How long is waited to hear how many partitions there are.
const GROWTH: Duration = Duration::from_secs(1);

/// A place to start, and what of the wish can't be had.
#[derive(Debug)]
pub(crate) struct Begun {
    /// The next offset of each partition.
    pub(crate) next: Vec<i64>,
    /// What is missing before it.
    pub(crate) gap: Option<Gap>,
}

impl Begun {
    fn at(next: Vec<i64>) -> Self {
        Self { next, gap: None }
    }
}

impl Shared {
    /// The offsets to start with, one for each partition.
    ///
    /// # Errors
    /// `invalid` for a cursor that is not one of this event, and as the broker says.
    pub(crate) async fn resolve(&self, event: &Arc<Event>, start: &Start) -> Result<Begun> {
        self.look_for_growth(event).await;
        let (topic, partitions) = (event.topic.as_str(), event.partitions());
        match start {
            Start::Beginning => Ok(Begun::at(self.asker.begins(topic, partitions).await?)),
            Start::Latest => Ok(Begun::at(self.asker.ends(topic, partitions).await?)),
            Start::At(time) => Ok(Begun::at(self.asker.at(topic, partitions, *time).await?)),
            Start::After(cursor) => self.after(event, cursor).await,
        }
    }

    /// Sees how many partitions there are by now; where that can't be told, as many as were there.
    pub(crate) async fn look_for_growth(&self, event: &Event) {
        if !event.is_to_be_looked_at(Instant::now()) {
            return;
        }
        match self.asker.partitions_within(&event.topic, GROWTH).await {
            Ok(found) => event.see_partitions(found.unwrap_or(0)),
            Err(error) => {
                tracing::debug!(%error, event = %event.name, "whether there are more partitions can't be told");
            }
        }
    }

    async fn after(&self, event: &Arc<Event>, cursor: &Cursor) -> Result<Begun> {
        let places = Places::parse(cursor)?;
        if !places.is_of(&event.name) {
            return Err(Position::foreign());
        }
        let bounds = self.asker.bounds(&event.topic, event.partitions()).await?;
        let begins = || bounds.iter().map(|bounds| bounds.begin).collect::<Vec<_>>();
        if places.life != event.life {
            return begin_anew(event, begins());
        }
        let told = told(&places, bounds.len());
        let untold = if told.contains(&None) && places.own.is_some() {
            let own = places.own.unwrap_or(0);
            let next = told.get(usize::from(own)).copied().flatten().unwrap_or(0);
            let place = Place { partition: i32::from(own), offset: next - 1 };
            match self.message_at(event, place, &bounds).await? {
                // A message written later may be of an earlier time, by as long as publishing may take.
                Some(message) => {
                    let from = message.timestamp.minus(self.config.timeout);
                    self.asker.at(&event.topic, event.partitions(), from).await?
                }
                None => begins(),
            }
        } else {
            begins()
        };
        let next: Vec<i64> = told.iter().zip(&untold).map(|(told, untold)| told.unwrap_or(*untold)).collect();
        // Beyond the end: the topic was made anew, or cut off.
        if next.iter().zip(&bounds).any(|(next, bounds)| *next > bounds.end) {
            return begin_anew(event, begins());
        }
        let behind = |(next, bounds): (&i64, &Bounds)| u64::try_from(bounds.begin - next).unwrap_or(0);
        let missed: u64 = next.iter().zip(&bounds).map(behind).sum();
        let next: Vec<i64> = next.iter().zip(&bounds).map(|(next, bounds)| bounds.begin.max(*next)).collect();
        let gap = (missed > 0).then(|| event.gap(Some(missed), &next)).transpose()?;
        Ok(Begun { next, gap })
    }

    /// The message whose own place the cursor is, if it is still there.
    ///
    /// # Errors
    /// `invalid` for a cursor that is not one of this event, and as the broker says.
    pub(crate) async fn find(&self, event: &Arc<Event>, place: &Cursor) -> Result<Option<Arc<Message>>> {
        let places = Places::parse(place)?;
        if !places.is_of(&event.name) {
            return Err(Position::foreign());
        }
        let Some(own) = places.own.filter(|_| places.life == event.life) else { return Ok(None) };
        let Some(next) = untold(places.in_partition(own)) else { return Ok(None) };
        if own >= event.partitions() {
            self.look_for_growth(event).await;
        }
        let bounds = self.asker.bounds(&event.topic, event.partitions()).await?;
        self.message_at(event, Place { partition: i32::from(own), offset: next - 1 }, &bounds).await
    }

    /// The message at a place, if it is still there.
    async fn message_at(
        &self,
        event: &Arc<Event>,
        place: Place,
        bounds: &[Bounds],
    ) -> Result<Option<Arc<Message>>> {
        let own = usize::try_from(place.partition).unwrap_or(usize::MAX);
        let Some(held) = bounds.get(own) else { return Ok(None) };
        if place.offset < held.begin || place.offset >= held.end {
            return Ok(None);
        }
        // The other partitions are of no interest, so they are read from their ends.
        let mut from: Vec<i64> = bounds.iter().map(|bounds| bounds.end).collect();
        if let Some(slot) = from.get_mut(own) {
            *slot = place.offset;
        }
        let chunk = self.reader.page(self, event, from, Limit { messages: 1, bytes: 1 }).await?;
        let found = chunk.messages.into_iter().next().filter(|(found, _)| *found == place);
        Ok(found.map(|(_, message)| message))
    }
}

/// What the cursor tells of each partition there is now.
fn told(places: &Places, partitions: usize) -> Vec<Option<i64>> {
    let told = |partition| untold(places.in_partition(u16::try_from(partition).unwrap_or(u16::MAX)));
    (0..partitions.max(places.next.len())).map(told).take(partitions).collect()
}

fn begin_anew(event: &Event, begins: Vec<i64>) -> Result<Begun> {
    let gap = event.gap(None, &begins)?;
    Ok(Begun { next: begins, gap: Some(gap) })
}
