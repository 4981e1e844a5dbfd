//! Where a subscription or a page starts, and what it can't have any more.

use std::time::Duration;

use async_nats::datetime::DateTime;
use busgate_core::{Error, Gap, Position, Result, Start, Timestamp};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{api::StreamInfo, error, event::Event, link::Link};

/// How often to ask for what should be there, and how long to wait in between: a busy cluster may take some hundred
/// milliseconds to tell all its servers.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// Where a consumer starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Beginning,
    Time(Timestamp),
    Sequence(u64),
}

impl From {
    /// The part of a consumer's configuration that says it.
    pub(crate) fn policy(self) -> Result<Value> {
        Ok(match self {
            Self::Beginning => json!({ "deliver_policy": "all" }),
            Self::Time(time) => {
                let nanos = i128::from(time.as_nanos().max(0));
                let at = async_nats::datetime::from_nanos(nanos);
                let at = at.map_err(|_| Error::invalid("the start time is out of range"))?;
                json!({ "deliver_policy": "by_start_time", "opt_start_time": text(at) })
            }
            Self::Sequence(next) => {
                json!({ "deliver_policy": "by_start_sequence", "opt_start_seq": next.max(1) })
            }
        })
    }
}

/// Where an event's subscription starts, and what it can't have any more.
pub(crate) async fn locate(link: &Link, event: &Event, start: &Start) -> Result<(From, Option<Gap>)> {
    let cursor = match start {
        Start::Beginning => return Ok((From::Beginning, None)),
        // By the leader: another server of a cluster may not know yet what has been accepted.
        Start::Latest => {
            let info = known_stream(link, event).await?;
            return Ok((From::Sequence(info.state.last_seq.saturating_add(1)), None));
        }
        Start::At(time) => return Ok((From::Time(*time), None)),
        Start::After(cursor) => cursor,
    };
    let position = Position::parse(cursor)?;
    if !position.is_of(&event.name) {
        return Err(Position::foreign());
    }
    let info = known_stream(link, event).await?;
    let (first, end) = (info.state.first(), info.state.last_seq.saturating_add(1));
    let known = position.life == event.life && position.next <= end;
    if known && position.next >= first {
        return Ok((From::Sequence(position.next), None));
    }
    let missed = (known && event.is_whole).then(|| first - position.next);
    let cursor = Some(event.before(first).to_cursor()?);
    Ok((From::Sequence(first), Some(Gap { missed, cursor })))
}

/// The stream of an event that is known. A server of a cluster that was asked too early does not know it yet.
pub(crate) async fn known_stream(link: &Link, event: &Event) -> Result<StreamInfo> {
    for _ in 0..TRIES {
        match link.stream(&event.stream).await? {
            Some(info) => return Ok(info),
            None if event.ended().is_some() => break,
            None => sleep(PAUSE).await,
        }
    }
    Err(error::not_registered(&event.name))
}

/// The gap when after `next` comes `sequence`. In a stream with other subjects only retention makes one.
pub(crate) async fn missed(link: &Link, event: &Event, next: u64, sequence: u64) -> Result<Option<Gap>> {
    let missed = if event.is_whole {
        Some(sequence - next)
    } else {
        match link.stream(&event.stream).await {
            Ok(Some(info)) if info.state.first() > next => None,
            _ => return Ok(None),
        }
    };
    Ok(Some(Gap { missed, cursor: Some(event.before(sequence).to_cursor()?) }))
}

/// As RFC 3339 writes it.
fn text(at: DateTime) -> String {
    let (date, nanos) = (at.date(), at.nanosecond());
    let (month, day) = (u8::from(date.month()), date.day());
    let (hour, minute, second) = (at.hour(), at.minute(), at.second());
    format!("{:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z", date.year())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_to_the_nanosecond() {
        let policy = From::Time(Timestamp::from_nanos(1_000_000_000_000_000_042)).policy().unwrap();
        let wanted =
            json!({ "deliver_policy": "by_start_time", "opt_start_time": "2001-09-09T01:46:40.000000042Z" });
        assert_eq!(policy, wanted);
    }

    #[test]
    fn no_start_is_before_the_first_there_can_be() {
        assert_eq!(From::Sequence(0).policy().unwrap()["opt_start_seq"], 1);
        let before = From::Time(Timestamp::from_nanos(-1)).policy().unwrap();
        assert_eq!(before["opt_start_time"], "1970-01-01T00:00:00.000000000Z");
    }
}
