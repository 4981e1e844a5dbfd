//! Acks of what this node holds, as the script is told them: by run, and in each by bits.

use std::fmt::Write;

use busgate_core::Settled;
use redis::Cmd;

use super::Entry;
use crate::{crew::Ours, lease};

/// An ack of what this node holds.
#[derive(Clone, Copy)]
pub(super) struct Ack<'a> {
    /// Where it is in the batch.
    pub(super) nth: usize,
    entry: &'a Entry,
    /// As in [`Ours`].
    place: Option<u16>,
}

impl Ack<'_> {
    /// What the script is told once for all that have the same.
    const fn kind(&self) -> (u64, bool) {
        (self.entry.epoch, self.place.is_none())
    }
}

/// Acks of what this node holds, those of one run together and in its order; nothing when there is something else among them.
/// What is being settled already comes last: an entry that is there twice is settled by the first.
pub(super) fn by_run<'a>(entries: &[&'a Entry], held: &[Option<Ours>]) -> Option<Vec<Ack<'a>>> {
    let ack = |(nth, (entry, ours)): (usize, (&&'a Entry, &Option<Ours>))| {
        let ours = ours.filter(|_| entry.done == Settled::Acked)?;
        Some(Ack { nth, entry, place: ours.place })
    };
    let mut acks = entries.iter().zip(held).enumerate().map(ack).collect::<Option<Vec<_>>>()?;
    acks.sort_by_key(|ack| (ack.kind(), ack.place));
    Some(acks)
}

/// How many ids one command of a script can take.
const MOST_IDS: usize = 2000;

pub(super) fn write_acks(command: &mut Cmd, acks: &[Ack<'_>]) {
    for alike in acks.chunk_by(|one, next| one.kind() == next.kind()) {
        for part in alike.chunks(MOST_IDS) {
            let epoch = part.first().map_or(0, |ack| ack.entry.epoch);
            command.arg(lease::epoch_text(epoch)).arg(bits(part)).arg(part.len()).arg(ids(part));
        }
    }
    command.arg("");
}

/// Which places of their run these acks are of, as the script keeps them: eight in a byte, the first in its lowest bit.
fn bits(acks: &[Ack<'_>]) -> Vec<u8> {
    let last = acks.iter().filter_map(|ack| ack.place).max();
    let mut bits = last.map_or_else(Vec::new, |last| vec![0; usize::from(last / 8) + 1]);
    for place in acks.iter().filter_map(|ack| ack.place) {
        if let Some(byte) = bits.get_mut(usize::from(place / 8)) {
            *byte |= 1 << (place % 8);
        }
    }
    bits
}

fn ids(acks: &[Ack<'_>]) -> String {
    let mut ids = String::with_capacity(acks.len() * 20);
    for ack in acks {
        // Writing to a text does not fail.
        let _ = write!(ids, "{} ", ack.entry.token.entry);
    }
    ids
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use busgate_core::{GroupName, Holder};

    use super::*;
    use crate::{id::EntryId, lease::Token};

    fn entry(seq: u64, epoch: u64) -> Entry {
        let token = Token { life: 1, entry: EntryId { ms: 7, seq } };
        let holder = Holder::Group(GroupName::default());
        Entry { holder, token, epoch, verb: "ack", time: None, done: Settled::Acked }
    }

    fn told(entries: &[Entry], places: &[Option<u16>]) -> Vec<Vec<u8>> {
        let held: Vec<_> =
            places.iter().map(|place| Some(Ours { backoff: Duration::ZERO, place: *place })).collect();
        let mut command = Cmd::new();
        write_acks(&mut command, &by_run(&entries.iter().collect::<Vec<_>>(), &held).unwrap());
        let words = command.args_iter().map(|word| match word {
            redis::Arg::Simple(bytes) => bytes.to_vec(),
            _ => panic!("an argument that is none"),
        });
        words.collect()
    }

    #[test]
    fn acks_of_a_run_go_as_bits_and_in_its_order() {
        let epoch = lease::epoch(3, 5);
        let entries = [entry(9, epoch), entry(0, epoch), entry(4, epoch), entry(1, epoch)];
        let told = told(&entries, &[Some(9), Some(0), None, Some(1)]);
        let texts = [&b"3-5"[..], &[0b11, 0b10], b"3", b"7-0 7-1 7-9 ", b"3-5", b"", b"1", b"7-4 ", b""];
        assert_eq!(told, texts.map(<[u8]>::to_vec));
    }

    #[test]
    fn what_is_no_ack_or_not_held_here_goes_otherwise() {
        let entries = [entry(1, 1), Entry { done: Settled::Nacked, ..entry(2, 1) }];
        let ours = Some(Ours { backoff: Duration::ZERO, place: Some(0) });
        assert!(by_run(&[&entries[0], &entries[1]], &[ours, ours]).is_none());
        assert!(by_run(&[&entries[0]], &[None]).is_none());
    }
}
