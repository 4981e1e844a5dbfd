//! What stands behind the doors while ids and cursors are tried: a runtime, transports, events with messages in them.

use std::{future::Future, path::Path, sync::Arc};

use busgate_core::{Cursor, EventConfig, EventName, Message, MessageId, Result, Transport};
use tokio::runtime::{Builder, Runtime};

/// How many messages an event has.
pub(crate) const MESSAGES: usize = 20;

thread_local! {
    static RUNTIME: Option<Runtime> = Builder::new_current_thread().enable_all().build().ok();
}

/// Runs a future to its end.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| match runtime {
        Some(runtime) => runtime.block_on(future),
        None => unreachable!("no runtime could be made"),
    })
}

/// What can't be missing for a target to make sense.
pub(crate) fn needed<T, E: std::fmt::Debug>(what: std::result::Result<T, E>) -> T {
    match what {
        Ok(what) => what,
        Err(error) => unreachable!("the stage does not stand: {error:?}"),
    }
}

/// An event of this name.
pub(crate) fn event(name: &str) -> EventName {
    needed(EventName::new(name))
}

/// Puts messages into an event, and answers their cursors.
pub(crate) async fn fill(
    transport: &Arc<impl Transport + ?Sized>,
    event: &EventName,
    count: usize,
) -> Result<Vec<Cursor>> {
    transport.register(event, &EventConfig::default()).await?;
    let message = |n: usize| Ok(Message::new(MessageId::new(format!("m-{n}"))?, format!("payload {n}")));
    let batch = (0..count).map(message).collect::<Result<_>>()?;
    let receipts = transport.publish(event, batch).await.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(receipts.into_iter().filter_map(|receipt| receipt.cursor).collect())
}

/// A folder that goes away with its handle; in memory where the system has such a place.
pub(crate) fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    needed(if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() })
}
