//! Publishing: ids are claimed, what is new is written in one go.

use std::sync::Arc;

use busgate_core::{Effect, Error, ErrorKind, EventName, Message, Receipt, Result, Timestamp, Turn};

use super::KafkaTransport;
use crate::{
    codec,
    config::Unkeyed,
    dedup::Claim,
    event::Event,
    place::Place,
    producer::{Draft, Landing, partition_of},
};

/// How long messages that no order holds to a partition stay with one: what is written meanwhile travels in one batch.
/// The native producers' figure (`sticky.partitioning.linger.ms`).
const STICK_MS: i64 = 10;

impl KafkaTransport {
    pub(super) async fn publish_all(
        &self,
        event: &EventName,
        batch: Vec<Message>,
        turn: Turn,
    ) -> Vec<Result<Receipt>> {
        match self.event(event).await {
            Ok(event) if !batch.is_empty() => self.publish_to(&event, batch, turn).await,
            Ok(_) => Vec::new(),
            Err(error) => vec![Err(error); batch.len()],
        }
    }

    async fn publish_to(&self, event: &Arc<Event>, batch: Vec<Message>, turn: Turn) -> Vec<Result<Receipt>> {
        let window = match self.shared.dedup.window(&self.shared, event).await {
            Ok(window) => window,
            Err(error) => return vec![Err(error); batch.len()],
        };
        let Some(window) = window else {
            let places = turn.until_pending(self.write(event, batch.iter(), None)).await;
            return batch
                .iter()
                .zip(places)
                .map(|(message, place)| receipt(event, message, place?, false))
                .collect();
        };
        let claims = match window.claim(&self.shared, &batch).await {
            Ok(claims) => claims,
            Err(error) => {
                self.doubt_if_gone(event, &error);
                return vec![Err(error); batch.len()];
            }
        };
        let ours = || batch.iter().zip(&claims).filter(|(_, claim)| matches!(claim, Claim::Ours));
        let ids: Vec<_> = ours().map(|(message, _)| message.id.clone()).collect();
        let mut places = Vec::new();
        if !ids.is_empty() {
            // Who publishes may give up: what became of the messages is taken in all the same.
            let flight = window.flight(ids);
            let landing = Box::new(move |places: &Vec<Result<Place>>| flight.land(places));
            let write = self.write(event, ours().map(|(message, _)| message), Some(landing));
            places = turn.until_pending(write).await;
        }
        let mut places = places.into_iter();
        let mut receipts = Vec::with_capacity(batch.len());
        for (message, claim) in batch.iter().zip(claims) {
            let (place, duplicate) = match claim {
                Claim::Ours => (places.next().unwrap_or_else(no_answer), false),
                Claim::Taken(place) => (Ok(place), true),
                Claim::Flying(outcome) => (outcome.await.unwrap_or_else(|_| no_answer()), true),
            };
            receipts.push(place.and_then(|place| receipt(event, message, place, duplicate)));
        }
        receipts
    }

    pub(super) async fn write(
        &self,
        event: &Arc<Event>,
        messages: impl Iterator<Item = &Message>,
        landing: Option<Landing>,
    ) -> Vec<Result<Place>> {
        let now = self.shared.now();
        let count = self.shared.producer.writable(&event.topic, event.partitions());
        let drafts: Vec<Draft<'_>> = messages
            .map(|message| codec::draft(&event.topic, self.partition(count, message, now), message, now))
            .collect();
        let places = self.shared.producer.send_and_tell(drafts, landing).await;
        event.set_published();
        places
            .iter()
            .filter_map(|place| place.as_ref().err())
            .for_each(|error| self.doubt_if_gone(event, error));
        places
    }

    /// Whoever asks next is to look whether the topic is still there.
    fn doubt_if_gone(&self, event: &Event, error: &Error) {
        if error.kind() == ErrorKind::NotFound {
            self.shared.registry.doubt(&event.name);
        }
    }

    /// Which of the partitions a message belongs to.
    fn partition(&self, count: u16, message: &Message, now: Timestamp) -> i32 {
        match (&message.key, self.shared.config.unkeyed) {
            (Some(key), _) => partition_of(key.as_bytes(), count),
            (None, Unkeyed::Publisher) if message.source.is_empty() => {
                partition_of(self.shared.node.as_bytes(), count)
            }
            (None, Unkeyed::Publisher) => partition_of(message.source.as_bytes(), count),
            (None, Unkeyed::Spread) => {
                let first = i64::from(partition_of(self.shared.node.as_bytes(), count));
                let turn = first + now.as_millis() / STICK_MS;
                i32::try_from(turn.rem_euclid(i64::from(count))).unwrap_or(0)
            }
        }
    }
}

fn receipt(event: &Event, message: &Message, place: Place, duplicate: bool) -> Result<Receipt> {
    Ok(Receipt { id: message.id.clone(), cursor: Some(event.own_cursor(place)?), duplicate })
}

fn no_answer() -> Result<Place> {
    Err(Error::internal("no answer to a message").with_effect(Effect::Unknown))
}
