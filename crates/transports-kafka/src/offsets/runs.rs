//! Runs of equal neighbours as bytes.

use super::Author;
use crate::varint::{put, take, unzigzag, zigzag};

const KINDS: u64 = 8;

/// The kind of what is no run, but tells of the shelf.
const SHELF: u64 = 6;

/// The kind of a run that tells of each message by a bit.
const MAP: u64 = 7;

/// What is kept beside the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    /// Which shelf: never 0.
    pub(crate) id: u64,
    /// How many messages are set aside there.
    pub(crate) count: u64,
    /// How many of those are delayed.
    pub(crate) delayed: u64,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Done,
    Fresh,
    Back,
    Waiting,
    Leased,
    /// Delivered before; of the deliveries only their number is known.
    Tried,
}

/// Neighbours that have the same fate and were delivered one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) length: u64,
    pub(super) fate: Fate,
    pub(super) attempts: u32,
    pub(super) open: bool,
    /// Of the first one.
    pub(super) epoch: u64,
    /// When it is due, or its lease ends, in milliseconds of the wall clock.
    pub(super) time: i64,
}

impl Run {
    pub(super) const DONE: Self =
        Self { length: 0, fate: Fate::Done, attempts: 0, open: false, epoch: 0, time: 0 };

    /// Whether `next` differs in nothing but its turn.
    pub(super) fn is_continued_by(&self, next: &Self) -> bool {
        let epoch = if self.epoch == 0 { 0 } else { self.epoch.wrapping_add(self.length) };
        let expected = Self { length: next.length, epoch, ..*self };
        expected == *next
    }
}

/// Numbers that the next run most likely has.
#[derive(Clone, Copy, Debug)]
struct Guess {
    epoch: u64,
    time: i64,
}

impl Guess {
    const fn first(author: Author, time: i64) -> Self {
        Self { epoch: (author.generation as u64) << 40, time }
    }

    fn learn(&mut self, run: &Run) {
        if matches!(run.fate, Fate::Back | Fate::Waiting | Fate::Leased) {
            self.epoch = run.epoch.wrapping_add(run.length);
        }
        if matches!(run.fate, Fate::Waiting | Fate::Leased) {
            self.time = run.time;
        }
    }
}

/// Writes runs.
#[derive(Debug)]
pub(super) struct Write {
    bytes: Vec<u8>,
    guess: Guess,
}

impl Write {
    pub(super) fn new(author: Author, time: i64) -> Self {
        let mut bytes = Vec::with_capacity(64);
        put(&mut bytes, author.life);
        put(&mut bytes, author.generation.into());
        put(&mut bytes, zigzag(time));
        Self { bytes, guess: Guess::first(author, time) }
    }

    /// Tells of the shelf.
    pub(super) fn push_shelf(&mut self, tag: Tag) {
        put(&mut self.bytes, tag.count * KINDS + SHELF);
        put(&mut self.bytes, tag.id);
        put(&mut self.bytes, tag.delayed);
    }

    /// Adds a run, unless the bytes would be more than `room`; whether it did.
    pub(super) fn push(&mut self, run: &Run, room: usize) -> bool {
        let before = self.bytes.len();
        put(&mut self.bytes, run.length * KINDS + run.fate as u64);
        if run.fate == Fate::Tried {
            put(&mut self.bytes, run.attempts.into());
        }
        if matches!(run.fate, Fate::Back | Fate::Waiting | Fate::Leased) {
            put(&mut self.bytes, u64::from(run.attempts) << 1 | u64::from(run.open));
            put(&mut self.bytes, zigzag(run.epoch.wrapping_sub(self.guess.epoch).cast_signed()));
        }
        if matches!(run.fate, Fate::Waiting | Fate::Leased) {
            put(&mut self.bytes, zigzag(run.time.wrapping_sub(self.guess.time)));
        }
        if self.bytes.len() > room {
            self.bytes.truncate(before);
            return false;
        }
        self.guess.learn(run);
        true
    }

    /// Adds `length` messages with a bit each, set for those that are `unfinished`, unless the bytes would be more than
    /// `room`; whether it did.
    pub(super) fn push_map(
        &mut self,
        length: u64,
        unfinished: impl Iterator<Item = u64>,
        room: usize,
    ) -> bool {
        put(&mut self.bytes, length * KINDS + MAP);
        let start = self.bytes.len();
        let size = usize::try_from(length.div_ceil(8)).unwrap_or(usize::MAX);
        if start.saturating_add(size) > room {
            return false;
        }
        self.bytes.resize(start + size, 0);
        for nth in unfinished {
            if let Some(byte) = self.bytes.get_mut(start + (nth / 8) as usize) {
                *byte |= 1 << (nth % 8);
            }
        }
        true
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }
}

/// What was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) run: Run,
    /// Where each message has a fate of its own: a bit each, set for those that are not finished.
    pub(super) bits: Option<&'a [u8]>,
}

/// Reads what [`Write`] wrote.
#[derive(Debug)]
pub(super) struct Read<'a> {
    pub(super) author: Author,
    /// The shelf, once it was told of.
    pub(super) shelf: Option<Tag>,
    rest: &'a [u8],
    guess: Guess,
}

impl<'a> Read<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        let life = take(&mut rest)?;
        let generation = u32::try_from(take(&mut rest)?).ok()?;
        let time = unzigzag(take(&mut rest)?);
        let author = Author { life, generation };
        Some(Self { author, shelf: None, rest, guess: Guess::first(author, time) })
    }

    /// The next run: `Some(None)` at the end, `None` when there is no sense in it.
    pub(super) fn next(&mut self) -> Option<Option<Known<'a>>> {
        let mut head;
        loop {
            if self.rest.is_empty() {
                return Some(None);
            }
            head = take(&mut self.rest)?;
            if head % KINDS != SHELF {
                break;
            }
            let (id, delayed) = (take(&mut self.rest)?, take(&mut self.rest)?);
            self.shelf = Some(Tag { id, count: head / KINDS, delayed }).filter(|tag| tag.id != 0);
        }
        if head % KINDS == MAP {
            let run = Run { length: head / KINDS, fate: Fate::Fresh, ..Run::DONE };
            let size = usize::try_from(run.length.div_ceil(8)).ok()?;
            let (bits, rest) = self.rest.split_at_checked(size)?;
            self.rest = rest;
            return Some(Some(Known { run, bits: Some(bits) }));
        }
        let fate = match head % KINDS {
            0 => Fate::Done,
            1 => Fate::Fresh,
            2 => Fate::Back,
            3 => Fate::Waiting,
            4 => Fate::Leased,
            5 => Fate::Tried,
            _ => return None,
        };
        let mut run = Run { length: head / KINDS, fate, ..Run::DONE };
        if run.length == 0 {
            return None;
        }
        if fate == Fate::Tried {
            run.attempts = u32::try_from(take(&mut self.rest)?).ok()?;
        }
        if matches!(fate, Fate::Back | Fate::Waiting | Fate::Leased) {
            let attempts = take(&mut self.rest)?;
            run.attempts = u32::try_from(attempts >> 1).ok()?;
            run.open = attempts & 1 == 1;
            run.epoch = self.guess.epoch.wrapping_add(unzigzag(take(&mut self.rest)?).cast_unsigned());
        }
        if matches!(fate, Fate::Waiting | Fate::Leased) {
            run.time = self.guess.time.wrapping_add(unzigzag(take(&mut self.rest)?));
        }
        self.guess.learn(&run);
        Some(Some(Known { run, bits: None }))
    }
}

/// Whether the message at this place is unfinished.
pub(super) fn bit(bits: &[u8], nth: u64) -> bool {
    bits.get((nth / 8) as usize).is_some_and(|byte| byte >> (nth % 8) & 1 == 1)
}
