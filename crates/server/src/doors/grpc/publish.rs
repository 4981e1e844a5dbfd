//! Publishing many messages at once: those of one event go to the gateway together and in order.

use std::sync::Arc;

use busgate_core::{Caller, Draft, Effect, Error, EventName, Receipt, Result, Turn};
use futures_util::future;
use tonic::metadata::MetadataMap;

use crate::app::App;

/// The request metadata that names a message's publisher.
const SOURCE: &str = "x-source";

/// A message as the client sent it, or what is wrong with it.
pub(super) type Incoming = Result<(EventName, Draft)>;

/// The publisher that the client names for every message that does not name one.
///
/// # Errors
/// `invalid` when it is not ASCII text.
pub(super) fn source(metadata: &MetadataMap) -> Result<Option<String>> {
    let Some(source) = metadata.get(SOURCE) else { return Ok(None) };
    let source = source.to_str().map_err(|_| Error::invalid("x-source must be ASCII text"))?;
    Ok(Some(source.to_owned()).filter(|source| !source.is_empty()))
}

/// A client that publishes.
#[derive(Clone, Debug)]
pub(super) struct Publisher {
    app: Arc<App>,
    caller: Caller,
    source: Option<String>,
}

/// The messages of one event, each with its place in the batch.
type Lot = (EventName, Vec<usize>, Vec<Draft>);

impl Publisher {
    pub(super) fn new(app: &Arc<App>, caller: Caller, source: Option<String>) -> Self {
        Self { app: Arc::clone(app), caller, source }
    }

    /// Lets it publish `messages` now.
    ///
    /// # Errors
    /// `exhausted` over its rate.
    pub(super) fn admit(&self, messages: usize) -> Result<()> {
        self.app.admit(&self.caller, messages)
    }

    /// Publishes a batch, in its turn; the answers are in the order of the messages.
    ///
    /// # Errors
    /// What the gateway refuses each event's messages with, when it refuses them all.
    pub(super) async fn publish(&self, batch: Vec<Incoming>, turn: Turn) -> Result<Vec<Result<Receipt>>> {
        let mut answers: Vec<Option<Result<Receipt>>> = Vec::with_capacity(batch.len());
        let mut lots: Vec<Lot> = Vec::new();
        for (place, message) in batch.into_iter().enumerate() {
            match message {
                Err(error) => answers.push(Some(Err(error))),
                Ok((event, draft)) => {
                    answers.push(None);
                    self.sort(&mut lots, place, event, draft);
                }
            }
        }
        let lots = lots.into_iter().map(|(event, places, drafts)| {
            let turn = turn.clone();
            let gateway = &self.app.gateway;
            async move { (places, gateway.publish_in_turn(&self.caller, &event, drafts, turn).await) }
        });
        let lots = future::join_all(lots.collect::<Vec<_>>());
        drop(turn);
        let lots = lots.await;
        let unanswered = answers.iter().all(Option::is_none);
        if let Some((_, Err(error))) = lots.first()
            && unanswered
            && lots.iter().all(|(_, lot)| lot.is_err())
        {
            return Err(error.clone());
        }
        for (places, lot) in lots {
            fill(&mut answers, places, lot);
        }
        Ok(answers.into_iter().map(|answer| answer.unwrap_or_else(no_answer)).collect())
    }

    fn sort(&self, lots: &mut Vec<Lot>, place: usize, event: EventName, draft: Draft) {
        let source = draft.source.or_else(|| self.source.clone());
        let draft = Draft { source, ..draft };
        // Batches are of one event or a few; the last one is the likeliest.
        match lots.iter_mut().rev().find(|(name, ..)| *name == event) {
            Some((_, places, drafts)) => {
                places.push(place);
                drafts.push(draft);
            }
            None => lots.push((event, vec![place], vec![draft])),
        }
    }
}

/// Puts the answers of one event's messages in their places.
fn fill(answers: &mut [Option<Result<Receipt>>], places: Vec<usize>, lot: Result<Vec<Result<Receipt>>>) {
    let lot = lot.unwrap_or_else(|error| vec![Err(error); places.len()]);
    for (place, answer) in places.into_iter().zip(lot) {
        if let Some(slot) = answers.get_mut(place) {
            *slot = Some(answer);
        }
    }
}

fn no_answer() -> Result<Receipt> {
    Err(Error::internal("the gateway gave fewer answers than it got messages").with_effect(Effect::Unknown))
}
