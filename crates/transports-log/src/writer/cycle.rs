//! One commit: everything that waits goes into one transaction, or none of it happened.

use std::{collections::HashMap, sync::Arc};

use busgate_core::{Error, Moment, Receipt, Result};

use super::{
    Writer,
    burial::Burial,
    log::{Log, Prepared, Staged},
    queue::{Append, Control, Keep},
    retention,
};
use crate::{
    catalog::Catalog,
    store::{Batch, EventId, StateKey},
};

/// How much goes into one transaction.
const MAX_MESSAGES: usize = 2048;
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// How many messages of unregistered events are deleted in one transaction.
const DIG: u32 = 2048;

/// What a cycle has to do.
#[derive(Debug, Default)]
pub(super) struct Work {
    appends: Vec<Append>,
    pub(super) keeps: Vec<Keep>,
    pub(super) burying: bool,
    pub(super) housekeeping: bool,
    /// To be done after the cycle.
    pub(super) control: Option<Control>,
    messages: usize,
    bytes: usize,
}

/// What a cycle has written so far.
#[derive(Debug, Default)]
struct Stage {
    logs: HashMap<EventId, Staged>,
    /// The answers to each append; `None` when its event is gone.
    prepared: Vec<Option<Vec<Prepared>>>,
    dug: Vec<EventId>,
}

impl Work {
    pub(super) fn append(&mut self, append: Append) {
        self.messages += append.parcels.len();
        self.bytes += append.parcels.iter().map(|parcel| parcel.record.len()).sum::<usize>();
        self.appends.push(append);
    }

    /// Whether someone waits for it.
    pub(super) fn is_asked_for(&self) -> bool {
        self.burying || !self.appends.is_empty() || !self.keeps.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.messages >= MAX_MESSAGES || self.bytes >= MAX_BYTES
    }
}

impl Stage {
    fn log<'s>(&'s mut self, log: &Log) -> &'s mut Staged {
        self.logs.entry(log.event.id).or_insert_with(|| log.stage())
    }
}

impl Writer {
    /// Does the work in one transaction, and answers everyone.
    pub(super) fn cycle(&mut self, mut work: Work) -> Result<()> {
        let now = self.now();
        self.open_dead_letter_events();
        let mut stage = Stage::default();
        let result = self.write(&mut work, &mut stage, now);
        if let Err(error) = &result {
            tracing::warn!(%error, kind = %error.kind(), messages = work.messages, "a commit failed");
        } else {
            self.apply(std::mem::take(&mut stage.logs), &stage.dug, now);
        }
        let mut prepared = stage.prepared.into_iter();
        for append in work.appends {
            let answer = answers(&append, prepared.next().flatten(), result.as_ref().err());
            let _ = append.answer.send(answer);
        }
        for keep in work.keeps {
            let gone = keep.seats.iter().any(|seat| !self.logs.contains_key(&seat.event));
            let answer = if gone { Err(unregistered()) } else { result.clone() };
            let _ = keep.answer.send(answer);
        }
        result
    }

    /// Whether retention or a grave has something to do.
    pub(super) fn has_chores(&self) -> bool {
        let now = self.now();
        !self.graves.is_empty()
            || self.logs.values().any(|log| retention::is_due(log, &log.meta, log.oldest, now))
    }

    fn write(&mut self, work: &mut Work, stage: &mut Stage, now: Moment) -> Result<()> {
        let mut batch = self.store.begin()?;
        for append in &mut work.appends {
            let prepared = match self.logs.get_mut(&append.event.id) {
                Some(log) => Some(add_all(log, stage, &mut batch, append, now)?),
                None => None,
            };
            stage.prepared.push(prepared);
        }
        self.burials.retain(|burial| self.logs.contains_key(&burial.seat.event));
        for burial in &mut self.burials {
            burial.written = false;
            bury((&mut self.logs, &self.catalog), burial, stage, &mut batch, now)?;
            self.soiled.insert(burial.seat.key(), Arc::clone(&burial.seat));
        }
        trim(&mut self.logs, stage, &mut batch, work.housekeeping, now)?;
        for (id, staged) in &stage.logs {
            if let Some(log) = self.logs.get(id) {
                batch.put(&StateKey::Event(*id), &staged.meta.encode(&log.event))?;
            }
        }
        self.soiled.retain(|_, seat| self.logs.contains_key(&seat.event));
        for (key, seat) in &self.soiled {
            batch.put(key, &seat.snapshot(now))?;
        }
        if work.housekeeping
            && let Some(grave) = self.graves.first()
            && batch.dig(*grave, DIG)?
        {
            batch.delete(&StateKey::Grave(*grave))?;
            stage.dug.push(*grave);
        }
        batch.commit()
    }

    fn apply(&mut self, staged: HashMap<EventId, Staged>, dug: &[EventId], now: Moment) {
        self.burials.retain(|burial| !burial.written);
        self.soiled.drain().for_each(|(_, seat)| seat.confirm());
        self.graves.retain(|grave| !dug.contains(grave));
        for (id, staged) in staged {
            let Some(log) = self.logs.get_mut(&id) else { continue };
            let first = staged.meta.bounds.first;
            if log.apply(staged, now) {
                let trimmed = log.event.seats().into_iter().filter(|seat| seat.trim(first));
                self.soiled.extend(trimmed.map(|seat| (seat.key(), seat)));
            }
        }
    }
}

fn add_all(
    log: &mut Log,
    stage: &mut Stage,
    batch: &mut Batch<'_>,
    append: &mut Append,
    now: Moment,
) -> Result<Vec<Prepared>> {
    let staged = stage.log(log);
    append.parcels.iter_mut().map(|parcel| log.add(staged, batch, parcel, now)).collect()
}

/// Writes a dead letter and forgets its message, in the same transaction. Without its event it waits.
fn bury(
    (logs, catalog): (&mut HashMap<EventId, Log>, &Catalog),
    burial: &mut Burial,
    stage: &mut Stage,
    batch: &mut Batch<'_>,
    now: Moment,
) -> Result<()> {
    if let Some((event, parcel)) = &mut burial.letter {
        let log = catalog.get(event).and_then(|event| logs.get_mut(&event.id));
        let Some(log) = log else { return Ok(()) };
        log.add(stage.log(log), batch, parcel, now)?;
    }
    burial.seat.bury(burial.offset);
    burial.written = true;
    Ok(())
}

/// Has retention look at every event that was written to, or at all of them.
fn trim(
    logs: &mut HashMap<EventId, Log>,
    stage: &mut Stage,
    batch: &mut Batch<'_>,
    all: bool,
    now: Moment,
) -> Result<()> {
    let mut due: Vec<EventId> = stage.logs.keys().copied().collect();
    if all {
        let others = logs.iter().filter(|(id, log)| {
            !stage.logs.contains_key(id) && retention::is_due(log, &log.meta, log.oldest, now)
        });
        due.extend(others.map(|(id, _)| *id));
    }
    for id in due {
        let Some(log) = logs.get_mut(&id) else { continue };
        retention::trim(log, stage.log(log), batch, now)?;
    }
    Ok(())
}

fn answers(append: &Append, prepared: Option<Vec<Prepared>>, error: Option<&Error>) -> Vec<Result<Receipt>> {
    match (prepared, error) {
        (Some(prepared), None) => prepared.into_iter().map(|prepared| Ok(prepared.receipt)).collect(),
        (Some(prepared), Some(error)) => {
            let answer =
                |prepared: Prepared| if prepared.fresh { Err(error.clone()) } else { Ok(prepared.receipt) };
            prepared.into_iter().map(answer).collect()
        }
        (None, error) => {
            let error = error.cloned().unwrap_or_else(unregistered);
            append.parcels.iter().map(|_| Err(error.clone())).collect()
        }
    }
}

fn unregistered() -> Error {
    Error::not_found("the event is not registered")
}
