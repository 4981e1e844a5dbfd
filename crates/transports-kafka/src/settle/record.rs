//! What nodes tell each other, as the values of records.
//!
//! A version byte, the kind, the node that wrote it and its number for the call, then what the kind asks for. Numbers have
//! their lowest byte first; texts have their length before them.

use std::time::Duration;

use busgate_core::{ConsumerName, EventName, GroupName, Holder, Nack, Settled, Verb};

use crate::{group::Ask, lease::Entry};

const VERSION: u8 = 1;

/// What became of settlements, by their number in the call.
pub(super) type Fates = Vec<(usize, Settled)>;

/// What a node tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Whoever reads these messages is to settle them.
    Ask { event: EventName, holder: Holder, asks: Vec<Ask> },
    /// What became of those of another node's call, by their number there.
    Answer { to: u64, call: u64, settled: Fates },
    /// A named consumer has subscribed here: earlier subscriptions of it end.
    TakeOver { event: EventName, holder: Holder },
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) node: u64,
    pub(super) call: u64,
    pub(super) told: Told,
}

impl Record {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        let kind = match self.told {
            Told::Ask { .. } => 1,
            Told::Answer { .. } => 2,
            Told::TakeOver { .. } => 3,
        };
        out.push(kind);
        put_u64(&mut out, self.node);
        put_u64(&mut out, self.call);
        match &self.told {
            Told::Ask { event, holder, asks } => {
                put_holder(&mut out, event, holder);
                asks.iter().for_each(|ask| put_ask(&mut out, ask));
            }
            Told::Answer { to, call, settled } => {
                put_u64(&mut out, *to);
                put_u64(&mut out, *call);
                for (index, settled) in settled {
                    put_u64(&mut out, *index as u64);
                    out.push(code(*settled));
                }
            }
            Told::TakeOver { event, holder } => put_holder(&mut out, event, holder),
        }
        out
    }

    /// Reads it; `None` when it is of another version, or none at all.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let rest = &mut rest;
        if take_u8(rest)? != VERSION {
            return None;
        }
        let kind = take_u8(rest)?;
        let (node, call) = (take_u64(rest)?, take_u64(rest)?);
        let told = match kind {
            1 => {
                let (event, holder) = take_holder(rest)?;
                let mut asks = Vec::new();
                while !rest.is_empty() {
                    asks.push(take_ask(rest)?);
                }
                Told::Ask { event, holder, asks }
            }
            2 => {
                let (to, call) = (take_u64(rest)?, take_u64(rest)?);
                let mut settled = Vec::new();
                while !rest.is_empty() {
                    settled.push((usize::try_from(take_u64(rest)?).ok()?, settled_of(take_u8(rest)?)?));
                }
                Told::Answer { to, call, settled }
            }
            3 => {
                let (event, holder) = take_holder(rest)?;
                Told::TakeOver { event, holder }
            }
            _ => return None,
        };
        Some(Self { node, call, told })
    }
}

fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_u64(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn put_holder(out: &mut Vec<u8>, event: &EventName, holder: &Holder) {
    put_text(out, event.as_str());
    match holder {
        Holder::Group(group) => {
            out.push(0);
            put_text(out, group.as_str());
        }
        Holder::Consumer(consumer) => {
            out.push(1);
            put_text(out, consumer.as_str());
        }
    }
}

fn put_duration(out: &mut Vec<u8>, duration: Duration) {
    put_u64(out, u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
}

fn put_ask(out: &mut Vec<u8>, ask: &Ask) {
    put_u64(out, ask.index as u64);
    put_u64(out, ask.epoch);
    out.extend_from_slice(&ask.entry.to_bytes());
    match &ask.verb {
        // A reject never gets here; as a nack it would come back.
        Verb::Ack | Verb::Reject { .. } => out.push(0),
        Verb::Release { counted } => out.push(1 + u8::from(*counted)),
        Verb::Extend(duration) => {
            out.push(3);
            put_duration(out, *duration);
        }
        Verb::Nack(nack) => {
            out.push(4 + u8::from(nack.delay.is_some()));
            if let Some(delay) = nack.delay {
                put_duration(out, delay);
            }
            put_text(out, nack.error.as_deref().unwrap_or_default());
        }
    }
}

const fn code(settled: Settled) -> u8 {
    match settled {
        Settled::Acked => 0,
        Settled::Nacked => 1,
        Settled::Rejected => 2,
        Settled::Extended => 3,
        Settled::Released => 4,
        Settled::Stale => 5,
        Settled::Unknown => 6,
    }
}

fn settled_of(code: u8) -> Option<Settled> {
    Some(match code {
        0 => Settled::Acked,
        1 => Settled::Nacked,
        2 => Settled::Rejected,
        3 => Settled::Extended,
        4 => Settled::Released,
        5 => Settled::Stale,
        6 => Settled::Unknown,
        _ => return None,
    })
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (found, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(found)
}

fn take_u8(rest: &mut &[u8]) -> Option<u8> {
    take(rest, 1)?.first().copied()
}

fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(take(rest, 8)?.try_into().ok()?))
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::try_from(take_u64(rest)?).ok()?;
    std::str::from_utf8(take(rest, length)?).ok()
}

fn take_holder(rest: &mut &[u8]) -> Option<(EventName, Holder)> {
    let event = EventName::new(take_text(rest)?).ok()?;
    let holder = match take_u8(rest)? {
        0 => Holder::Group(GroupName::new(take_text(rest)?).ok()?),
        1 => Holder::Consumer(ConsumerName::new(take_text(rest)?).ok()?),
        _ => return None,
    };
    Some((event, holder))
}

fn take_ask(rest: &mut &[u8]) -> Option<Ask> {
    let index = usize::try_from(take_u64(rest)?).ok()?;
    let epoch = take_u64(rest)?;
    let entry = Entry::parse(take(rest, Entry::BYTES)?).ok()?;
    let verb = match take_u8(rest)? {
        0 => Verb::Ack,
        1 => Verb::Release { counted: false },
        2 => Verb::Release { counted: true },
        3 => Verb::Extend(Duration::from_nanos(take_u64(rest)?)),
        kind @ (4 | 5) => {
            let delay = if kind == 5 { Some(Duration::from_nanos(take_u64(rest)?)) } else { None };
            let error = Some(take_text(rest)?.to_owned()).filter(|error| !error.is_empty());
            Verb::Nack(Nack { delay, error })
        }
        _ => return None,
    };
    Some(Ask { index, entry, epoch, verb })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all() -> Vec<Told> {
        let event = EventName::new("orders.created").unwrap();
        let holder = Holder::Group(GroupName::new("mail").unwrap());
        let verbs = [
            Verb::Ack,
            Verb::Release { counted: true },
            Verb::Release { counted: false },
            Verb::Extend(Duration::from_millis(7)),
            Verb::Nack(Nack { delay: None, error: None }),
            Verb::Nack(Nack { delay: Some(Duration::ZERO), error: Some("bad".into()) }),
        ];
        let asks = verbs.into_iter().enumerate().map(|(index, verb)| {
            let entry = Entry { life: 3, partition: 4, offset: index as u64 };
            Ask { index, entry, epoch: 9, verb }
        });
        let consumer = Holder::Consumer(ConsumerName::new("audit").unwrap());
        vec![
            Told::Ask { event: event.clone(), holder, asks: asks.collect() },
            Told::Answer { to: 1, call: 2, settled: vec![(0, Settled::Acked), (5, Settled::Unknown)] },
            Told::TakeOver { event, holder: consumer },
        ]
    }

    #[test]
    fn a_record_reads_back() {
        for told in all() {
            let record = Record { node: u64::MAX, call: 7, told };
            assert_eq!(Record::parse(&record.to_bytes()), Some(record));
        }
    }

    fn verb() -> impl Strategy<Value = Verb> {
        let duration = any::<u64>().prop_map(Duration::from_nanos);
        prop_oneof![
            Just(Verb::Ack),
            any::<bool>().prop_map(|counted| Verb::Release { counted }),
            duration.clone().prop_map(Verb::Extend),
            (prop::option::of(duration), prop::option::of(".{1,20}"))
                .prop_map(|(delay, error)| Verb::Nack(Nack { delay, error })),
        ]
    }

    fn ask() -> impl Strategy<Value = Ask> {
        let entry = (any::<u64>(), 0..=i32::MAX, 0..=i64::MAX as u64)
            .prop_map(|(life, partition, offset)| Entry { life, partition, offset });
        (any::<usize>(), entry, any::<u64>(), verb()).prop_map(|(index, entry, epoch, verb)| Ask {
            index,
            entry,
            epoch,
            verb,
        })
    }

    fn told() -> impl Strategy<Value = Told> {
        let holder = ("[a-z]{1,9}", any::<bool>()).prop_map(|(name, is_group)| match is_group {
            true => Holder::Group(GroupName::new(name).unwrap()),
            false => Holder::Consumer(ConsumerName::new(name).unwrap()),
        });
        let event = "[a-z]{1,9}(\\.[a-z]{1,9}){0,2}".prop_map(|name| EventName::new(name).unwrap());
        let of = (event, holder);
        let settled = (any::<usize>(), (0..7_u8).prop_map(|code| settled_of(code).unwrap()));
        prop_oneof![
            (of.clone(), prop::collection::vec(ask(), 0..5)).prop_map(|((event, holder), asks)| Told::Ask {
                event,
                holder,
                asks
            }),
            (any::<(u64, u64)>(), prop::collection::vec(settled, 0..5))
                .prop_map(|((to, call), settled)| Told::Answer { to, call, settled }),
            of.prop_map(|(event, holder)| Told::TakeOver { event, holder }),
        ]
    }

    proptest! {
        #[test]
        fn every_record_reads_back(node in any::<u64>(), call in any::<u64>(), told in told()) {
            let record = Record { node, call, told };
            prop_assert_eq!(Record::parse(&record.to_bytes()), Some(record));
        }

        #[test]
        fn a_bent_record_is_another_or_none(told in told(), at in any::<usize>(), bit in 0..8_u8) {
            let record = Record { node: 1, call: 7, told };
            let mut bytes = record.to_bytes();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert_ne!(Record::parse(&bytes), Some(record));
        }

        #[test]
        fn garbage_takes_nobody_down(bytes in prop::collection::vec(any::<u8>(), 0..120), cut in 0..90_usize) {
            drop(Record::parse(&bytes));
            for told in all() {
                let whole = Record { node: 1, call: 7, told }.to_bytes();
                drop(Record::parse(&whole[..cut.min(whole.len())]));
            }
        }
    }
}
