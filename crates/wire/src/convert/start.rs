//! Where to start.

use busgate_core::{Cursor, Error, Result, Start};

use super::time;
use crate::proto::event::v1::StartPosition;

/// Reads where to start, if anything says so: a cursor goes before a position.
///
/// # Errors
/// `invalid` for a malformed cursor or time, an unknown position, and for a position and a time that exclude each other.
pub(super) fn read_start(
    position: i32,
    time: Option<prost_types::Timestamp>,
    after: &str,
) -> Result<Option<Start>> {
    use StartPosition::{Beginning, Latest, Timestamp, Unspecified};

    if !after.is_empty() {
        return Ok(Some(Start::After(Cursor::new(after)?)));
    }
    let time = time.map(|time| time::read_time("start_time", time)).transpose()?;
    match (StartPosition::try_from(position), time) {
        (Ok(Unspecified), None) => Ok(None),
        (Ok(Beginning), None) => Ok(Some(Start::Beginning)),
        (Ok(Latest), None) => Ok(Some(Start::Latest)),
        (Ok(Unspecified | Timestamp), Some(time)) => Ok(Some(Start::At(time))),
        (Ok(Timestamp), None) => Err(Error::invalid("START_POSITION_TIMESTAMP needs start_time")),
        (Ok(Beginning | Latest), Some(_)) => Err(Error::invalid("start_time needs START_POSITION_TIMESTAMP")),
        (Err(_), _) => Err(Error::invalid(format!("start_from has no value {position}"))),
    }
}

/// A start in the fields that say it.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) position: StartPosition,
    pub(super) time: Option<prost_types::Timestamp>,
    pub(super) after: String,
}

/// Writes where to start.
pub(super) fn write_start(start: &Start) -> Written {
    let at = |position| Written { position, time: None, after: String::new() };
    match start {
        Start::Beginning => at(StartPosition::Beginning),
        Start::Latest => at(StartPosition::Latest),
        Start::At(time) => Written { time: Some(time::write_time(*time)), ..at(StartPosition::Timestamp) },
        Start::After(cursor) => Written { after: cursor.to_string(), ..at(StartPosition::Unspecified) },
    }
}
