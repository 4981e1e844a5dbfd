//! What a node asks of the one that handed a message out, and the answer, as JSON: they may be of different versions.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use busgate_core::{
    ConsumerName, Effect, Error, ErrorKind, EventName, GroupName, Holder, LeaseToken, Nack, Result, Settled,
    Verb,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{api::nanos, error};

/// To the node that handed a message out: settle it.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Question {
    event: String,
    group: Option<String>,
    consumer: Option<String>,
    entry: String,
    epoch: u64,
    verb: Asked,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Asked {
    Ack,
    Nack { delay_ns: Option<u64> },
    Extend { for_ns: u64 },
    Release { counted: bool },
    Reject,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Answered {
    Settled(String),
    Refused { kind: String, message: String, unknown: bool },
}

const SETTLED: [(&str, Settled); 7] = [
    ("acked", Settled::Acked),
    ("nacked", Settled::Nacked),
    ("rejected", Settled::Rejected),
    ("extended", Settled::Extended),
    ("released", Settled::Released),
    ("stale", Settled::Stale),
    ("unknown", Settled::Unknown),
];

impl Question {
    pub(super) fn new(token: &LeaseToken, verb: &Verb) -> Self {
        let (group, consumer) = match &token.holder {
            Holder::Group(name) => (Some(name.to_string()), None),
            Holder::Consumer(name) => (None, Some(name.to_string())),
        };
        let verb = match verb {
            Verb::Ack => Asked::Ack,
            Verb::Nack(nack) => Asked::Nack { delay_ns: nack.delay.map(nanos) },
            Verb::Extend(duration) => Asked::Extend { for_ns: nanos(*duration) },
            Verb::Release { counted } => Asked::Release { counted: *counted },
            Verb::Reject { .. } => Asked::Reject,
        };
        let (event, entry) = (token.event.to_string(), STANDARD.encode(&token.entry));
        Self { event, group, consumer, entry, epoch: token.epoch, verb }
    }
}

pub(super) fn read(text: &[u8]) -> Result<(LeaseToken, Verb)> {
    let Question { event, group, consumer, entry, epoch, verb } =
        serde_json::from_slice(text).map_err(|_| error::foreign_token())?;
    let holder = match (group, consumer) {
        (Some(name), None) => Holder::Group(GroupName::new(name)?),
        (None, Some(name)) => Holder::Consumer(ConsumerName::new(name)?),
        _ => return Err(error::foreign_token()),
    };
    let entry = STANDARD.decode(entry).map_err(|_| error::foreign_token())?.into();
    let verb = match verb {
        Asked::Ack => Verb::Ack,
        Asked::Nack { delay_ns } => {
            Verb::Nack(Nack { delay: delay_ns.map(Duration::from_nanos), error: None })
        }
        Asked::Extend { for_ns } => Verb::Extend(Duration::from_nanos(for_ns)),
        Asked::Release { counted } => Verb::Release { counted },
        Asked::Reject => Verb::Reject { reason: String::new() },
    };
    Ok((LeaseToken { event: EventName::new(event)?, holder, entry, epoch }, verb))
}

pub(super) fn write_answer(settled: &Result<Settled>) -> Bytes {
    let answer = match settled {
        Ok(settled) => {
            let name =
                SETTLED.iter().find(|(_, known)| known == settled).map_or("unknown", |(name, _)| *name);
            Answered::Settled(name.into())
        }
        Err(error) => Answered::Refused {
            kind: error.kind().to_string(),
            message: error.message().into(),
            unknown: error.effect() == Effect::Unknown,
        },
    };
    serde_json::to_vec(&answer).unwrap_or_default().into()
}

pub(super) fn read_answer(text: &[u8]) -> Result<Settled> {
    let broken = || Error::internal("another node's answer can't be read").with_effect(Effect::Unknown);
    match serde_json::from_slice(text).map_err(|_| broken())? {
        Answered::Settled(name) => {
            SETTLED.iter().find(|(known, _)| *known == name).map(|(_, settled)| *settled).ok_or_else(broken)
        }
        Answered::Refused { kind, message, unknown } => {
            let kind = ErrorKind::from_name(&kind).unwrap_or(ErrorKind::Internal);
            let effect = if unknown { Effect::Unknown } else { Effect::None };
            Err(Error::new(kind, message).with_effect(effect))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_reads_back() {
        let verbs = [
            Verb::Ack,
            Verb::Nack(Nack { delay: Some(Duration::from_nanos(7)), error: None }),
            Verb::Nack(Nack::default()),
            Verb::Extend(Duration::from_secs(3)),
            Verb::Release { counted: true },
            Verb::Release { counted: false },
        ];
        for holder in [Holder::Group(GroupName::default()), Holder::Consumer(ConsumerName::new("c").unwrap())]
        {
            let event = EventName::new("orders").unwrap();
            let token = LeaseToken { event, holder, entry: Bytes::from_static(&[0, 255]), epoch: 9 };
            for verb in &verbs {
                let text = serde_json::to_vec(&Question::new(&token, verb)).unwrap();
                assert_eq!(read(&text).unwrap(), (token.clone(), verb.clone()));
            }
        }
    }

    #[test]
    fn every_answer_reads_back() {
        for (_, settled) in SETTLED {
            assert_eq!(read_answer(&write_answer(&Ok(settled))).unwrap(), settled);
        }
        let refused = Err(Error::unavailable("away").with_effect(Effect::Unknown));
        let read = read_answer(&write_answer(&refused)).unwrap_err();
        assert_eq!(
            (read.kind(), read.effect(), read.message()),
            (ErrorKind::Unavailable, Effect::Unknown, "away")
        );
    }
}
