//! What is too old, or too much, goes: the oldest first, by age, bytes and count.

use busgate_core::{Moment, Result, Timestamp};

use super::{Log, Meta, log::Staged};
use crate::store::{Batch, HEADER_BYTES, Want};

/// How many messages are looked at in one read, and trimmed in one transaction at most.
const PAGE: usize = 512;
const MOST: u64 = 8192;

/// Whether the oldest message, which arrived at `oldest`, has to go.
pub(super) fn is_due(log: &Log, meta: &Meta, oldest: Option<Timestamp>, now: Moment) -> bool {
    let bounds = meta.bounds;
    let over = |limit: Option<u64>, size: u64| limit.is_some_and(|limit| size > limit);
    let old =
        || log.config.retention_age.zip(oldest).is_some_and(|(age, oldest)| now.wall.since(oldest) > age);
    !log.damaged
        && bounds.first < bounds.head
        && (over(log.config.retention_messages, bounds.head - bounds.first)
            || over(log.config.retention_bytes, bounds.bytes)
            || old())
}

/// Deletes what has to go, from the oldest on. Each message is read and checked before it counts as old.
pub(super) fn trim(log: &mut Log, staged: &mut Staged, batch: &mut Batch<'_>, now: Moment) -> Result<()> {
    let before = staged.meta.bounds.first;
    while is_due(log, &staged.meta, staged.oldest, now) && staged.meta.bounds.first - before < MOST {
        let bounds = staged.meta.bounds;
        let want = Want {
            event: log.event.id,
            from: bounds.first,
            until: bounds.head,
            messages: PAGE,
            bytes: 1024 * 1024,
        };
        let page = match batch.page(want) {
            Ok(page) => page,
            Err(error) => {
                let event = log.event.name.as_str();
                tracing::error!(event, offset = bounds.first, %error, "retention stops before damaged data");
                log.damaged = true;
                break;
            }
        };
        for record in page {
            staged.oldest = Some(record.arrived);
            if !is_due(log, &staged.meta, staged.oldest, now) {
                break;
            }
            staged.meta.bounds.first += 1;
            staged.meta.bounds.bytes -= (HEADER_BYTES + record.body.len()) as u64;
        }
    }
    let bounds = staged.meta.bounds;
    if bounds.first == bounds.head {
        staged.oldest = None;
    }
    if bounds.first > before {
        log.event.hide(bounds.first);
        batch.trim(log.event.id, bounds.first)?;
    }
    Ok(())
}
