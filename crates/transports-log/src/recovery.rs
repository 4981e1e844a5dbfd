//! Opening: what the state rows say becomes events, groups and consumers again.

use std::{collections::HashMap, sync::Arc};

use busgate_core::{ErrorKind, Group, Moment, Result};

use crate::{
    catalog::Catalog,
    codec,
    config::LogConfig,
    error::damaged,
    event::{Bounds, Event},
    lease::Seat,
    store::{EventId, Place, Readers, StateKey, StateRow, Store, Want},
    writer::{Log, Meta, Queue, Writer},
};

/// How many messages are read at once to remember their ids.
const PAGE: usize = 1024;

/// What an opened directory gives.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) writer: Writer,
    pub(crate) queue: Queue,
    pub(crate) readers: Arc<Readers>,
    pub(crate) catalog: Arc<Catalog>,
    /// Which opening this is.
    pub(crate) generation: u32,
}

/// Opens a data directory and everything in it.
///
/// # Errors
/// `exists` when another process has it, `internal` when it is damaged, `unavailable` or `exhausted` when the files
/// can't be used.
pub(crate) fn open(config: LogConfig) -> Result<Opened> {
    let (mut store, rows) = Store::open(&config.directory, config.max_bytes)?;
    let generation = begin_generation(&mut store)?;
    let readers = Arc::new(Readers::new(config.directory.clone()));
    let catalog = Arc::new(Catalog::default());
    let (mut writer, queue) = Writer::new(store, Arc::clone(&readers), Arc::clone(&catalog), config);
    let now = writer.now();
    let mut holders = Vec::new();
    for row in rows {
        match row.key {
            StateKey::Event(id) => recover_event(&mut writer, id, &row)?,
            StateKey::Grave(id) => writer.graves.push(id),
            StateKey::Holder(..) => holders.push(row),
        }
    }
    let events: HashMap<EventId, Arc<Event>> =
        writer.logs.iter().map(|(id, log)| (*id, Arc::clone(&log.event))).collect();
    for row in holders {
        recover_seat(&events, &row, now, generation)?;
    }
    for log in writer.logs.values_mut() {
        remember(log, &readers, writer.config.max_dedup_ids, now);
    }
    Ok(Opened { writer, queue, readers, catalog, generation })
}

/// Leases of this opening never meet those of an earlier one. On a full disk that is only written with the first
/// commit that succeeds: reading must go on.
fn begin_generation(store: &mut Store) -> Result<u32> {
    let next = store.generation().wrapping_add(1);
    let written = store.begin().and_then(|mut batch| {
        batch.new_generation();
        batch.commit()
    });
    match written {
        Err(error) if error.kind() == ErrorKind::Exhausted => {
            tracing::warn!(%error, "the log opens on a full disk");
            store.assume_generation(next);
            Ok(next)
        }
        written => written.map(|()| next),
    }
}

fn recover_event(writer: &mut Writer, id: EventId, row: &StateRow) -> Result<()> {
    let (name, asked, meta) = Meta::decode(row.value.clone())?;
    let Bounds { first, head, .. } = meta.bounds;
    let held = writer.readers.bounds(id)?;
    let expected = (first < head).then_some((first, head));
    if held != expected {
        return Err(damaged(format!("event `{name}` holds {held:?} of {expected:?}")));
    }
    let event = Arc::new(Event::new(id, name, asked, writer.config.tail(), meta.bounds));
    writer.adopt(&event, meta);
    Ok(())
}

fn recover_seat(
    events: &HashMap<EventId, Arc<Event>>,
    row: &StateRow,
    now: Moment,
    generation: u32,
) -> Result<()> {
    let StateKey::Holder(id, holder) = &row.key else { return Ok(()) };
    let event = events.get(id).ok_or_else(|| damaged("a holder has no event"))?;
    let group = Group::restore(&row.value, now, generation)?;
    let bounds = event.bounds();
    if group.frontier() > bounds.head.max(bounds.first) {
        return Err(damaged(format!("{holder} of event `{}` is ahead of it", event.name)));
    }
    let seat = Arc::new(Seat::new(event, holder.clone(), group));
    seat.set_kept();
    seat.trim(bounds.first);
    event.seat_or(seat, usize::MAX);
    Ok(())
}

/// Reads the newest messages again to know their ids and what retention has to look at. Damage is left to be found by
/// whoever reads there: one bad message must not keep all the others from being served.
fn remember(log: &mut Log, readers: &Readers, max_ids: usize, now: Moment) {
    let Bounds { first, head, .. } = log.meta.bounds;
    if first == head {
        return;
    }
    let event = log.event.id;
    let oldest = readers.one(Place { event, offset: first });
    match oldest {
        Ok(record) => log.oldest = Some(record.arrived),
        Err(error) => {
            tracing::error!(event = %log.event.name, %error, "the oldest message is damaged");
            log.damaged = true;
        }
    }
    if let Err(error) = remember_ids(log, readers, max_ids, now) {
        tracing::error!(event = %log.event.name, %error, "not all message ids are remembered");
    }
}

fn remember_ids(log: &mut Log, readers: &Readers, most: usize, now: Moment) -> Result<()> {
    let window = log.config.dedup_window.unwrap_or_default();
    let Bounds { first, head, .. } = log.meta.bounds;
    if !log.ids.is_on() || now.wall.since(log.meta.arrived) >= window {
        return Ok(());
    }
    let event = log.event.id;
    let young = readers.search(event, first..head, |record| now.wall.since(record.arrived) < window)?;
    let mut from = young.max(head.saturating_sub(most as u64));
    while from < head {
        let want = Want { event, from, until: head, messages: PAGE, bytes: 4 * 1024 * 1024 };
        for record in readers.page(want)? {
            let message = codec::decode_message(record.body)?;
            log.ids.remember(record.arrived, &message.id, from);
            from += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_that_found_no_room_is_written_with_the_next_commit() {
        let directory = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(directory.path(), None).unwrap();
        let first = begin_generation(&mut store).unwrap();
        store.assume_generation(first + 1);
        store.begin().and_then(|batch| batch.commit()).unwrap();
        drop(store);
        let (mut store, _) = Store::open(directory.path(), None).unwrap();
        assert_eq!(begin_generation(&mut store).unwrap(), first + 2);
    }
}
