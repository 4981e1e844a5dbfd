//! What the commit of one partition says: how far a group is, and what is finished, tried, leased or delayed beyond.
//!
//! The committed offset is the lowest unfinished one. Everything else rides in the commit's metadata: runs of equal
//! neighbours from that offset on, so that thousands of finished messages above a slow one take a few bytes. The next
//! owner of the partition goes on from both: nothing finished comes back, attempts and delays are not forgotten, and a
//! lease that runs goes on running.
//!
//! The metadata is `busgate/1 ` and base64url of: the life of the event, the owner's generation, the wall clock in
//! milliseconds, then runs. A run is its length and kind in one number, then what its kind asks for: attempts and
//! whether the token still settles, the epoch of its first message (as the distance to the expected one), a time (as
//! the distance to the one before). All numbers are varints (LEB128), distances zigzag.
//!
//! What is on a [`Shelf`] is told by its own records: a commit names the shelf, and passes by what is there as if it were
//! finished.

mod runs;
#[cfg(test)]
mod tests;
mod text;

use std::time::Duration;

use busgate_core::{Group, Keyed, Moment, Standing, Timestamp, Unfinished};
use tokio::time::Instant;

pub(crate) use self::runs::Tag;
use self::{
    runs::{Fate, Known, Read, Run, Write},
    text::{decode, encode},
};
use crate::shelf::Shelf;

/// How long the metadata may be: brokers allow 4,096 bytes unless told otherwise (`offset.metadata.max.bytes`).
pub(crate) const MAX_METADATA: usize = 4000;

/// The most that stands before the runs.
const HEADER: usize = 40;

/// The most that an unfinished message and the finished ones before it take.
pub(crate) const RUN: u64 = 6;

/// Lease ends are told in steps of this, so that those of one burst are equal.
const STEP_MS: i64 = 128;

/// More unfinished messages than any owner keeps: what tells of more was not written by one.
const MAX_UNFINISHED: u64 = 1 << 20;

/// Who wrote a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Author {
    /// Which life of the event.
    pub(crate) life: u64,
    /// Which owner of the partition, counted.
    pub(crate) generation: u32,
}

/// What goes to the broker.
///
/// Invariant: an ack is answered only when a commit that was made after it is (`what_was_answered_never_comes_back`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    /// The lowest offset that is neither finished nor on the shelf.
    pub(crate) offset: u64,
    pub(crate) metadata: String,
}

/// What the next owner goes on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handover {
    pub(crate) author: Author,
    /// The first offset nothing is told of.
    pub(crate) frontier: u64,
    /// But for those on the shelf.
    pub(crate) unfinished: Vec<Unfinished>,
    /// Where more is kept, if there is any.
    pub(crate) shelf: Option<Tag>,
}

/// How much is told of a message that is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detail {
    /// Everything.
    Exact,
    /// No epochs and no lease ends: attempts and delays stay.
    Spare,
    /// That it is not finished.
    Bare,
}

/// How many bytes of a commit are for what is not finished.
pub(crate) fn space(limit: usize) -> u64 {
    text::room(limit).saturating_sub(HEADER) as u64
}

/// Up to which offset fresh messages may be taken, so that a commit always has room for what is finished among them.
///
/// Invariant: either the messages are few enough for a bit each, or the unfinished ones for a run each
/// (`there_is_always_room`).
pub(crate) fn reach(group: &Group, shelf: &Shelf, limit: usize) -> u64 {
    let space = space(limit);
    let by_runs = group.frontier() + (space / RUN).saturating_sub(shelf.left(group));
    by_runs.max(shelf.floor(group) + space * 8)
}

/// What a commit says of `group`, in at most `limit` bytes of metadata; `None` when there is no room, as somebody took
/// messages beyond [`reach`].
pub(crate) fn write(
    group: &Group,
    shelf: &Shelf,
    author: Author,
    now: Moment,
    limit: usize,
) -> Option<Commit> {
    let room = text::room(limit);
    let told = told(group, shelf);
    let offset = told.first().map_or_else(|| group.frontier(), |known| known.offset);
    for detail in [Detail::Exact, Detail::Spare, Detail::Bare] {
        let mut bytes = begin(group, shelf, &told, (author, now));
        if collect(group, offset, &told, now, detail).iter().all(|run| bytes.push(run, room)) {
            return Some(Commit { offset, metadata: encode(bytes.as_slice()) });
        }
    }
    let mut bytes = begin(group, shelf, &told, (author, now));
    let offsets = told.iter().map(|known| known.offset - offset);
    let is_told = bytes.push_map(group.frontier() - offset, offsets, room);
    is_told.then(|| Commit { offset, metadata: encode(bytes.as_slice()) })
}

/// Whether a commit has room for all there is to tell.
pub(crate) fn is_exact(group: &Group, shelf: &Shelf, author: Author, now: Moment, limit: usize) -> bool {
    let (room, told) = (text::room(limit), told(group, shelf));
    let offset = told.first().map_or_else(|| group.frontier(), |known| known.offset);
    let mut bytes = begin(group, shelf, &told, (author, now));
    collect(group, offset, &told, now, Detail::Exact).iter().all(|run| bytes.push(run, room))
}

/// What the commit has to tell of, as the shelf does not.
fn told(group: &Group, shelf: &Shelf) -> Vec<Unfinished> {
    group.unfinished_from(shelf.floor(group)).filter(|known| !shelf.covers(known.offset)).collect()
}

fn begin(group: &Group, shelf: &Shelf, told: &[Unfinished], (author, now): (Author, Moment)) -> Write {
    let mut bytes = Write::new(author, now.wall.as_millis());
    let delayed = told.iter().filter(|known| matches!(known.standing, Standing::Waiting(_))).count();
    if let Some(tag) = shelf.tag(group.delayed().saturating_sub(delayed)) {
        bytes.push_shelf(tag);
    }
    bytes
}

/// What a commit at `offset` with this metadata tells; `None` when it was not written here, or has no meaning.
pub(crate) fn read(offset: u64, metadata: &str, now: Moment) -> Option<Handover> {
    let bytes = decode(metadata)?;
    let mut reader = Read::new(&bytes)?;
    let (mut frontier, mut unfinished) = (offset, Vec::new());
    while let Some(Known { run, bits }) = reader.next()? {
        let end = frontier.checked_add(run.length)?;
        if run.fate != Fate::Done {
            if unfinished.len() as u64 + run.length > MAX_UNFINISHED {
                return None;
            }
            let is_told = |offset: &u64| bits.is_none_or(|bits| runs::bit(bits, *offset - frontier));
            let offsets = (frontier..end).filter(is_told);
            unfinished.extend(offsets.map(|offset| resumed(offset, offset - frontier, &run, now)));
        }
        frontier = end;
    }
    Some(Handover { author: reader.author, frontier, unfinished, shelf: reader.shelf })
}

/// The runs from `offset` on. What was never delivered at the end is as good as never seen.
fn collect(group: &Group, offset: u64, told: &[Unfinished], now: Moment, detail: Detail) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut next = offset;
    for known in told {
        if known.offset > next {
            runs.push(Run { length: known.offset - next, ..Run::DONE });
        }
        let run = run(known, now, detail);
        match runs.last_mut().filter(|last| last.is_continued_by(&run)) {
            Some(last) => last.length += 1,
            None => runs.push(run),
        }
        next = known.offset + 1;
    }
    if group.frontier() > next {
        runs.push(Run { length: group.frontier() - next, ..Run::DONE });
    }
    if runs.last().is_some_and(|last| last.fate == Fate::Fresh) {
        runs.pop();
    }
    runs
}

fn run(known: &Unfinished, now: Moment, detail: Detail) -> Run {
    let Unfinished { attempts, epoch, open, standing, .. } = *known;
    let fate = match standing {
        _ if detail == Detail::Bare => Fate::Fresh,
        Standing::Fresh => Fate::Fresh,
        Standing::Waiting(_) => Fate::Waiting,
        Standing::Leased(_) if detail == Detail::Exact && epoch != 0 => Fate::Leased,
        Standing::Back if detail == Detail::Exact && epoch != 0 => Fate::Back,
        Standing::Back | Standing::Leased(_) => Fate::Tried,
    };
    let time = match standing {
        Standing::Waiting(due) => on_the_wall(due, now) + 1,
        Standing::Leased(deadline) => (on_the_wall(deadline, now) / STEP_MS + 1) * STEP_MS,
        Standing::Fresh | Standing::Back => 0,
    };
    let blank = Run { length: 1, fate, ..Run::DONE };
    match fate {
        Fate::Done | Fate::Fresh => blank,
        Fate::Tried => Run { attempts, ..blank },
        Fate::Back => Run { attempts, open, epoch, ..blank },
        Fate::Waiting | Fate::Leased => Run { attempts, open, epoch, time, ..blank },
    }
}

fn resumed(offset: u64, nth: u64, run: &Run, now: Moment) -> Unfinished {
    let standing = match run.fate {
        Fate::Done | Fate::Fresh => Standing::Fresh,
        Fate::Back | Fate::Tried => Standing::Back,
        Fate::Waiting => Standing::Waiting(at(run.time, now)),
        Fate::Leased => Standing::Leased(at(run.time, now)),
    };
    let epoch = if run.epoch == 0 { 0 } else { run.epoch.wrapping_add(nth) };
    let key = Keyed::Unknown;
    Unfinished { offset, attempts: run.attempts, epoch, open: run.open, key, standing }
}

pub(crate) fn on_the_wall(at: Instant, now: Moment) -> i64 {
    now.wall.plus(at.saturating_duration_since(now.at)).as_millis()
}

pub(crate) fn at(millis: i64, now: Moment) -> Instant {
    let left = Timestamp::from_millis(millis).since(now.wall);
    now.at.checked_add(left).unwrap_or_else(|| now.at + Duration::from_secs(7 * 24 * 3600))
}
