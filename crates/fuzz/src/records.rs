//! What the log keeps on disk, behind its seals: messages, configurations, the state of groups.

use busgate_core::{ErrorKind, Group, Moment, Result, Timestamp};
use busgate_transports_log::fuzzing;
use bytes::Bytes;
use tokio::time::Instant;

use crate::input::Input;

/// The first byte says what record the others are.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.byte();
    let bytes = Bytes::copy_from_slice(input.rest());
    match kind % 4 {
        0 => same(bytes, fuzzing::rewrite_message),
        1 => same(bytes, fuzzing::rewrite_config),
        2 => damaged(fuzzing::read_event(bytes)),
        _ => group(&bytes),
    }
}

/// What is read is written so that it reads the same; what can't be read is damage.
fn same(bytes: Bytes, rewrite: impl Fn(Bytes) -> Result<Vec<u8>>) {
    match rewrite(bytes) {
        Err(error) => damaged::<()>(Err(error)),
        Ok(once) => {
            let twice = rewrite(once.clone().into());
            assert!(twice.as_ref().is_ok_and(|twice| *twice == once), "{once:?} became {twice:?}");
        }
    }
}

/// What a record can't say is damage, or a name or id that can't be.
fn damaged<T>(read: Result<T>) {
    if let Err(error) = read {
        assert!(matches!(error.kind(), ErrorKind::Internal | ErrorKind::Invalid), "{error:?}");
    }
}

/// A group that was restored can be kept and restored again, and knows nothing that can't be.
fn group(bytes: &[u8]) {
    let now = Moment { wall: Timestamp::from_millis(1_000_000), at: Instant::now() };
    match Group::restore(bytes, now, 1) {
        Err(error) => damaged::<()>(Err(error)),
        Ok(group) => {
            assert!(group.leased() == 0 && group.watermark() <= group.frontier());
            let once = group.snapshot(now);
            let again = Group::restore(&once, now, 1).map(|again| again.snapshot(now));
            assert!(again.as_ref().is_ok_and(|again| *again == once), "{once:?} became {again:?}");
        }
    }
}
