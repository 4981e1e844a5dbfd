//! What a gateway can do.

use busgate_core::{Capabilities, Error, Fencing, Result};

use crate::proto::event::v1 as proto;

/// What a gateway can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its version.
    pub version: String,
    /// What its transport can do.
    pub capabilities: Capabilities,
    /// The largest payload it takes.
    pub max_payload_bytes: usize,
    /// The most messages that one call publishes to an event.
    pub max_batch: usize,
    /// The most messages that one page of history has.
    pub max_page: usize,
    /// The most bytes of messages that one page of history has, unless its one message is larger.
    pub max_page_bytes: usize,
}

/// Writes the question what a gateway can do.
#[must_use]
pub const fn describe_request() -> proto::DescribeRequest {
    proto::DescribeRequest {}
}

/// Writes what a gateway can do.
#[must_use]
pub fn described(described: &Described) -> proto::DescribeResponse {
    proto::DescribeResponse {
        version: described.version.clone(),
        capabilities: Some(write_capabilities(&described.capabilities)),
        max_payload_bytes: described.max_payload_bytes as u64,
        max_batch: described.max_batch as u64,
        max_page: described.max_page as u64,
        max_page_bytes: described.max_page_bytes as u64,
    }
}

/// Reads what a gateway can do.
///
/// # Errors
/// `invalid` without capabilities, and for a kind of fencing that is not known.
pub fn read_described(response: proto::DescribeResponse) -> Result<Described> {
    Ok(Described {
        version: response.version,
        capabilities: read_capabilities(response.capabilities)?,
        max_payload_bytes: size(response.max_payload_bytes),
        max_batch: size(response.max_batch),
        max_page: size(response.max_page),
        max_page_bytes: size(response.max_page_bytes),
    })
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Writes capabilities.
pub(super) const fn write_capabilities(capabilities: &Capabilities) -> proto::Capabilities {
    let fenced = match capabilities.fenced {
        Fencing::None => proto::Fencing::Unspecified,
        Fencing::LeaseClock => proto::Fencing::LeaseClock,
        Fencing::Exact => proto::Fencing::Exact,
    };
    proto::Capabilities {
        durable: capabilities.durable,
        replay: capabilities.replay,
        replay_from_time: capabilities.replay_from_time,
        worker_pool: capabilities.worker_pool,
        redelivery: capabilities.redelivery,
        delayed_requeue: capabilities.delayed_requeue,
        extend: capabilities.extend,
        ordered: capabilities.ordered,
        ordered_keys: capabilities.ordered_keys,
        dedup: capabilities.dedup,
        resume: capabilities.resume,
        any_node_settle: capabilities.any_node_settle,
        fenced: fenced as i32,
        dead_letters: capabilities.dead_letters,
    }
}

/// Reads capabilities.
///
/// # Errors
/// `invalid` when there are none, and for a kind of fencing that is not known.
pub(super) fn read_capabilities(capabilities: Option<proto::Capabilities>) -> Result<Capabilities> {
    let written = capabilities.ok_or_else(|| Error::invalid("capabilities are missing"))?;
    let fenced = match proto::Fencing::try_from(written.fenced) {
        Ok(proto::Fencing::Unspecified) => Fencing::None,
        Ok(proto::Fencing::LeaseClock) => Fencing::LeaseClock,
        Ok(proto::Fencing::Exact) => Fencing::Exact,
        Err(_) => return Err(Error::invalid(format!("fenced has no value {}", written.fenced))),
    };
    Ok(Capabilities {
        durable: written.durable,
        replay: written.replay,
        replay_from_time: written.replay_from_time,
        worker_pool: written.worker_pool,
        redelivery: written.redelivery,
        delayed_requeue: written.delayed_requeue,
        extend: written.extend,
        ordered: written.ordered,
        ordered_keys: written.ordered_keys,
        dedup: written.dedup,
        resume: written.resume,
        any_node_settle: written.any_node_settle,
        fenced,
        dead_letters: written.dead_letters,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Capabilities of which only the one at `place` of the matrix is there.
    fn only(place: usize) -> Capabilities {
        let there = |at| at == place;
        Capabilities {
            durable: there(0),
            replay: there(1),
            replay_from_time: there(2),
            worker_pool: there(3),
            redelivery: there(4),
            delayed_requeue: there(5),
            extend: there(6),
            ordered: there(7),
            ordered_keys: there(8),
            dedup: there(9),
            resume: there(10),
            any_node_settle: there(11),
            fenced: if there(12) { Fencing::Exact } else { Fencing::None },
            dead_letters: there(13),
        }
    }

    fn with(capabilities: Capabilities) -> Described {
        Described {
            version: "1.2.3".into(),
            capabilities,
            max_payload_bytes: 1,
            max_batch: 2,
            max_page: 3,
            max_page_bytes: 4,
        }
    }

    #[test]
    fn every_capability_arrives_and_no_other() {
        let rows = Capabilities::default().rows().len();
        let clocked = Capabilities { fenced: Fencing::LeaseClock, ..Capabilities::default() };
        for capabilities in (0..rows).map(only).chain([clocked]) {
            let told = with(capabilities);
            assert_eq!(read_described(described(&told)).unwrap(), told);
        }
    }

    #[test]
    fn what_is_not_told_or_not_known_is_refused() {
        assert!(read_described(proto::DescribeResponse::default()).is_err());
        let fenced = proto::Capabilities { fenced: 9, ..proto::Capabilities::default() };
        assert!(read_capabilities(Some(fenced)).is_err());
    }
}
