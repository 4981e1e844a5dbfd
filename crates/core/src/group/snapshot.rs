//! A group as bytes: what a restart must not forget.
//!
//! Version 1, all numbers as varints (LEB128): version byte, frontier, next epoch, the policy (ack_wait in ns,
//! max_deliver, number of backoff steps, each in ns), number of entries; per entry the distance from the offset before,
//! attempts and epoch, and, when it was ever delivered, flags, wall times (ns) and errors as the flags say.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{
    DEFAULT_MAX_HELD, Group, Keyed, MAX_ERROR_BYTES, Moment, Reason,
    entry::{Entry, Failures, State},
    first_epoch,
    lanes::Lanes,
    ledger::Ledger,
    order::Order,
};
use crate::{Error, Result, RetryPolicy, Timestamp};

const VERSION: u8 = 1;
const MAX_BACKOFF_STEPS: u64 = 32;

const OPEN: u64 = 1;
const WAITING: u64 = 1 << 1;
const LEASED: u64 = 1 << 2;
const REJECTED: u64 = 1 << 3;
const USED_UP: u64 = 1 << 4;
const FAILED: u64 = 1 << 5;
const ALL_FLAGS: u64 = (1 << 6) - 1;

impl Group {
    /// The group as bytes.
    #[must_use]
    pub fn snapshot(&self, now: Moment) -> Vec<u8> {
        let mut out = vec![VERSION];
        put(&mut out, self.frontier);
        put(&mut out, self.next_epoch);
        put_policy(&mut out, &self.policy);
        let entries = self.ledger.iter();
        put(&mut out, entries.len() as u64);
        let mut before = 0;
        for (offset, entry) in entries {
            put(&mut out, offset - before);
            before = offset;
            put_entry(&mut out, entry, now);
        }
        out
    }

    /// The group that [`Group::snapshot`] wrote, after a restart: leases come back at once with their attempt counted,
    /// delays go on by the wall clock. `generation` as for [`Group::new`].
    ///
    /// # Errors
    /// `internal` when the bytes are not a snapshot.
    pub fn restore(bytes: &[u8], now: Moment, generation: u32) -> Result<Self> {
        let mut reader = Reader { rest: bytes };
        if reader.byte()? != VERSION {
            return Err(damaged("an unknown version"));
        }
        let frontier = reader.number()?;
        let next_epoch = reader.number()?.max(first_epoch(generation));
        let policy = Arc::new(reader.policy()?);
        let count = reader.number()?;
        let mut ledger = Ledger::default();
        let mut unlearned = VecDeque::new();
        let mut before = None;
        for _ in 0..count {
            let offset = reader.offset(before, frontier)?;
            ledger.insert(offset, reader.entry(now, &policy)?);
            unlearned.push_back(offset);
            before = Some(offset);
        }
        if !reader.rest.is_empty() {
            return Err(damaged("bytes after the end"));
        }
        let max_held = DEFAULT_MAX_HELD;
        Ok(Self {
            frontier,
            next_epoch,
            policy,
            ledger,
            lanes: Lanes::default(),
            order: Order::default(),
            unlearned,
            max_held,
            missed: 0,
        })
    }
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_time(out: &mut Vec<u8>, time: Timestamp) {
    put(out, time.as_nanos().cast_unsigned());
}

fn put_duration(out: &mut Vec<u8>, duration: Duration) {
    put(out, u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn put_policy(out: &mut Vec<u8>, policy: &RetryPolicy) {
    put_duration(out, policy.ack_wait);
    put(out, u64::from(policy.max_deliver));
    let steps = policy.backoff.iter().take(MAX_BACKOFF_STEPS as usize);
    put(out, steps.len() as u64);
    for step in steps {
        put_duration(out, *step);
    }
}

fn put_entry(out: &mut Vec<u8>, entry: &Entry, now: Moment) {
    put(out, u64::from(entry.attempts));
    put(out, entry.epoch);
    if entry.epoch == 0 {
        return;
    }
    let state = match entry.state {
        State::Parked | State::Ready => 0,
        State::Waiting(_) => WAITING,
        State::Leased { .. } => LEASED,
        State::Dying { reason: Reason::Rejected, .. } => REJECTED,
        State::Dying { reason: Reason::MaxDeliver, .. } => USED_UP,
    };
    let open = if entry.open { OPEN } else { 0 };
    put(out, state | open | if entry.failures.is_some() { FAILED } else { 0 });
    put_time(out, entry.first_delivered_at);
    if let State::Waiting(due) = entry.state {
        put_time(out, now.wall.plus(due.saturating_duration_since(now.at)));
    }
    if let Some(failures) = &entry.failures {
        put_text(out, &failures.first);
        put_text(out, &failures.last);
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8> {
        let (first, rest) = self.rest.split_first().ok_or_else(|| damaged("it ends early"))?;
        self.rest = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Result<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(damaged("a number is too large"))
    }

    fn small(&mut self) -> Result<u32> {
        u32::try_from(self.number()?).map_err(|_| damaged("a number is too large"))
    }

    fn time(&mut self) -> Result<Timestamp> {
        Ok(Timestamp::from_nanos(self.number()?.cast_signed()))
    }

    fn text(&mut self) -> Result<String> {
        let length = usize::try_from(self.number()?).map_err(|_| damaged("a text is too long"))?;
        if length > MAX_ERROR_BYTES {
            return Err(damaged("a text is too long"));
        }
        let (text, rest) = self.rest.split_at_checked(length).ok_or_else(|| damaged("it ends early"))?;
        self.rest = rest;
        std::str::from_utf8(text).map(String::from).map_err(|_| damaged("a text is not utf-8"))
    }

    fn policy(&mut self) -> Result<RetryPolicy> {
        let ack_wait = Duration::from_nanos(self.number()?);
        let max_deliver = self.small()?;
        let steps = self.number()?;
        if steps > MAX_BACKOFF_STEPS {
            return Err(damaged("too many backoff steps"));
        }
        let backoff =
            (0..steps).map(|_| Ok(Duration::from_nanos(self.number()?))).collect::<Result<Vec<_>>>()?;
        let policy = RetryPolicy { ack_wait, max_deliver, backoff };
        policy.validate().map_err(|error| damaged("its policy is out of bounds").with_source(error))?;
        Ok(policy)
    }

    fn offset(&mut self, before: Option<u64>, frontier: u64) -> Result<u64> {
        let distance = self.number()?;
        if before.is_some() && distance == 0 {
            return Err(damaged("an offset stands twice"));
        }
        before
            .unwrap_or_default()
            .checked_add(distance)
            .filter(|offset| *offset < frontier)
            .ok_or_else(|| damaged("an offset is beyond the frontier"))
    }

    fn entry(&mut self, now: Moment, policy: &Arc<RetryPolicy>) -> Result<Entry> {
        let mut entry = Entry::fresh(Keyed::Unknown, None, Arc::clone(policy));
        entry.attempts = self.small()?;
        entry.epoch = self.number()?;
        if entry.epoch == 0 {
            return if entry.attempts == 0 { Ok(entry) } else { Err(damaged("an attempt without an epoch")) };
        }
        let flags = self.number()?;
        if flags > ALL_FLAGS || (flags & (WAITING | LEASED | REJECTED | USED_UP)).count_ones() > 1 {
            return Err(damaged("unknown flags"));
        }
        entry.first_delivered_at = self.time()?;
        entry.open = flags & OPEN != 0;
        let due = if flags & WAITING == 0 { None } else { Some(self.time()?) };
        if flags & FAILED != 0 {
            entry.failures = Some(Box::new(Failures { first: self.text()?, last: self.text()? }));
        }
        if flags & LEASED != 0 {
            entry.failed("the lease ended in a restart");
        }
        let used_up = flags & LEASED != 0 && entry.attempts >= policy.max_deliver;
        entry.state = match due {
            Some(due) => State::Waiting(later(now, due)?),
            None if flags & REJECTED != 0 => dying(Reason::Rejected, now),
            None if flags & USED_UP != 0 || used_up => dying(Reason::MaxDeliver, now),
            None => State::Ready,
        };
        entry.open &= !matches!(entry.state, State::Dying { .. });
        Ok(entry)
    }
}

const fn dying(reason: Reason, now: Moment) -> State {
    State::Dying { reason, report: Some(now.at) }
}

fn later(now: Moment, due: Timestamp) -> Result<tokio::time::Instant> {
    now.at.checked_add(due.since(now.wall)).ok_or_else(|| damaged("a time is out of bounds"))
}

fn damaged(what: &str) -> Error {
    Error::internal(format!("the snapshot of a group is damaged: {what}"))
}
