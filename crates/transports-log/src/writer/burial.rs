//! Dead letters on their way: they are written in the transaction that forgets the original.

use std::{sync::Arc, time::Duration};

use busgate_core::{ErrorKind, EventConfig, EventName, Message, Origin, Result, Story, dead_letter};
use tokio::time::Instant;

use super::{Parcel, Writer};
use crate::{codec, event::Look, lease::Seat, store::Place};

/// How long to wait before a message that could not be read is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// A message to be forgotten by its holder, with the letter that remains of it, if one can.
#[derive(Debug)]
pub(super) struct Burial {
    pub(super) seat: Arc<Seat>,
    pub(super) offset: u64,
    pub(super) letter: Option<(EventName, Parcel)>,
    /// Whether it is in the transaction that is being made.
    pub(super) written: bool,
}

impl Writer {
    /// Makes the dead letter of the message that `story` is about; `None` when its event is gone, or when the message
    /// can't be read now: then the holder reports it again.
    pub(super) fn prepare(&self, seat: Arc<Seat>, story: &Story) -> Option<Burial> {
        let offset = story.offset;
        let log = self.logs.get(&seat.event)?;
        let letter = match (log.event.name.dead_letter(), self.find(&seat, offset)) {
            (Ok(event), Ok(Some(message))) => {
                self.letter(&seat, &message, story).map(|letter| (event, letter))
            }
            (Ok(_), Ok(None)) => None,
            (Ok(_), Err(error)) if error.kind() != ErrorKind::Internal => {
                let event = log.event.name.as_str();
                tracing::warn!(event, holder = %seat.holder, offset, %error, "a dead letter has to wait");
                seat.bury_later(offset, Instant::now() + AGAIN);
                return None;
            }
            (Ok(_), Err(error)) | (Err(error), _) => {
                let event = log.event.name.as_str();
                tracing::error!(event, holder = %seat.holder, offset, %error, "no dead letter can be written");
                None
            }
        };
        Some(Burial { seat, offset, letter, written: false })
    }

    /// Registers the dead-letter events that are needed and not there. What fails is tried with the next cycle.
    pub(super) fn open_dead_letter_events(&mut self) {
        let needed = self.burials.iter().filter_map(|burial| burial.letter.as_ref());
        let missing: Vec<EventName> = needed
            .map(|(event, _)| event.clone())
            .filter(|event| self.catalog.get(event).is_none())
            .collect();
        for event in missing {
            if let Err(error) = self.register(&event, &EventConfig::default()) {
                tracing::warn!(%event, %error, "the dead-letter event can't be registered");
            }
        }
    }

    fn letter(&self, seat: &Seat, message: &Message, story: &Story) -> Option<Parcel> {
        let log = self.logs.get(&seat.event)?;
        let cursor = log.event.cursor(story.offset).ok()?;
        let origin = Origin { event: &log.event.name, holder: &seat.holder, cursor: &cursor };
        Some(Parcel::new(dead_letter(message, origin, story, self.config.clock.now())))
    }

    fn find(&self, seat: &Seat, offset: u64) -> Result<Option<Arc<Message>>> {
        let Some(log) = self.logs.get(&seat.event) else { return Ok(None) };
        match log.event.look(offset) {
            Look::Here(message) => Ok(Some(message)),
            Look::Gone { .. } | Look::NotYet => Ok(None),
            Look::Cold => {
                let record = self.readers.one(Place { event: seat.event, offset })?;
                codec::decode_message(record.body).map(|message| Some(Arc::new(message)))
            }
        }
    }
}
