//! Where a subscription or a read starts.

use std::sync::Arc;

use busgate_core::{Cursor, Gap, Position, Result, Start};

use super::LogTransport;
use crate::event::{Bounds, Event};

impl LogTransport {
    /// The offset to start with, and what of the wish can't be had.
    pub(super) async fn resolve(&self, event: &Arc<Event>, start: &Start) -> Result<(u64, Option<Gap>)> {
        let Bounds { first, head, .. } = event.bounds();
        match start {
            Start::Beginning => Ok((first, None)),
            Start::Latest => Ok((head, None)),
            Start::At(time) => Ok((self.loader().search(event, *time).await?, None)),
            Start::After(cursor) => after(event, cursor),
        }
    }
}

fn after(event: &Event, cursor: &Cursor) -> Result<(u64, Option<Gap>)> {
    let position = Position::parse(cursor)?;
    let Bounds { first, head, .. } = event.bounds();
    if !position.is_of(&event.name) {
        return Err(Position::foreign());
    }
    if position.life != u64::from(event.id.0) || position.next > head {
        // Of another life of the event: it was registered anew since, or the directory is another or an older one.
        return Ok((first, Some(event.gap(None, first))));
    }
    if position.next < first {
        return Ok((first, Some(event.gap(Some(first - position.next), first))));
    }
    Ok((position.next, None))
}
