//! Subscribing.

use busgate_core::{
    AckMode, ConsumerName, Cursor, Error, GroupName, Mode, Pattern, Result, SlowPolicy, Start,
    SubscribeRequest,
};

use super::time;
use crate::proto::event::v1 as proto;

/// Reads a request to subscribe: manual acks unless it says otherwise; a cursor goes before a position.
///
/// # Errors
/// `invalid` for a bad name or value; `unsupported` for what a later version will know.
pub fn subscribe(request: &proto::SubscribeRequest) -> Result<SubscribeRequest> {
    if !request.filter.is_empty() {
        return Err(Error::unsupported("`filter` is not supported"));
    }
    let start = start(request)?;
    let slow = slow(request.slow_policy)?;
    let ack = match proto::AckMode::try_from(request.ack_mode) {
        Ok(proto::AckMode::Unspecified | proto::AckMode::Manual) => AckMode::Manual,
        Ok(proto::AckMode::Auto) => AckMode::Auto,
        Err(_) => return Err(unknown("ack_mode", request.ack_mode)),
    };
    let buffer = u32::try_from(request.buffer_size)
        .map_err(|_| Error::invalid(format!("buffer_size must be 0 or more, is {}", request.buffer_size)))?;
    let defaults = mode(request)?;
    Ok(SubscribeRequest {
        start: start.unwrap_or_else(|| defaults.start.clone()),
        ack,
        ack_wait: time::read_duration("ack_wait", request.ack_wait)?,
        max_deliver: given(request.max_deliver),
        max_in_flight: given(request.max_in_flight).map(size),
        max_age: time::read_duration("max_age", request.max_age)?,
        latest_only: request.latest_only,
        buffer: given(buffer).map(size),
        slow,
        ..defaults
    })
}

/// The kind of subscription with its defaults. A worker group keeps its place under its own name: a consumer id beside
/// it adds nothing, and some clients always send one.
fn mode(request: &proto::SubscribeRequest) -> Result<SubscribeRequest> {
    let target = Pattern::new(&request.event)?;
    match proto::DeliveryMode::try_from(request.delivery_mode) {
        Ok(proto::DeliveryMode::WorkerPool) => {
            let group = named(&request.worker_group).map(GroupName::new).transpose()?;
            Ok(SubscribeRequest::pool(target, group.unwrap_or_default()))
        }
        Ok(proto::DeliveryMode::Unspecified | proto::DeliveryMode::Broadcast) => {
            if !request.worker_group.is_empty() {
                return Err(Error::invalid("worker_group needs DELIVERY_MODE_WORKER_POOL"));
            }
            match named(&request.consumer_id) {
                Some(name) => Ok(SubscribeRequest::consumer(target, ConsumerName::new(name)?)),
                None => Ok(SubscribeRequest::broadcast(target)),
            }
        }
        Err(_) => Err(unknown("delivery_mode", request.delivery_mode)),
    }
}

fn start(request: &proto::SubscribeRequest) -> Result<Option<Start>> {
    use proto::StartPosition::{Beginning, Latest, Timestamp, Unspecified};

    if !request.start_after.is_empty() {
        return Ok(Some(Start::After(Cursor::new(&request.start_after)?)));
    }
    let time = request.start_time.map(|time| time::read_time("start_time", time)).transpose()?;
    match (proto::StartPosition::try_from(request.start_from), time) {
        (Ok(Unspecified), None) => Ok(None),
        (Ok(Beginning), None) => Ok(Some(Start::Beginning)),
        (Ok(Latest), None) => Ok(Some(Start::Latest)),
        (Ok(Unspecified | Timestamp), Some(time)) => Ok(Some(Start::At(time))),
        (Ok(Timestamp), None) => Err(Error::invalid("START_POSITION_TIMESTAMP needs start_time")),
        (Ok(Beginning | Latest), Some(_)) => Err(Error::invalid("start_time needs START_POSITION_TIMESTAMP")),
        (Err(_), _) => Err(unknown("start_from", request.start_from)),
    }
}

fn slow(policy: i32) -> Result<Option<SlowPolicy>> {
    match proto::SlowPolicy::try_from(policy) {
        Ok(proto::SlowPolicy::Unspecified) => Ok(None),
        Ok(proto::SlowPolicy::Pause) => Ok(Some(SlowPolicy::Pause)),
        Ok(proto::SlowPolicy::DropOldest) => Ok(Some(SlowPolicy::DropOldest)),
        Ok(proto::SlowPolicy::Conflate) => Ok(Some(SlowPolicy::Conflate)),
        Ok(proto::SlowPolicy::Disconnect) => Ok(Some(SlowPolicy::Disconnect)),
        Err(_) => Err(unknown("slow_policy", policy)),
    }
}

fn named(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn unknown(field: &str, value: i32) -> Error {
    Error::invalid(format!("{field} has no value {value}"))
}

/// Zero is what proto3 sends for nothing.
const fn given(number: u32) -> Option<u32> {
    match number {
        0 => None,
        number => Some(number),
    }
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Writes a request to subscribe. The window in bytes is each side's own and does not travel.
#[must_use]
pub fn subscribe_request(request: &SubscribeRequest) -> proto::SubscribeRequest {
    let (delivery_mode, worker_group, consumer_id) = match &request.mode {
        Mode::WorkerPool { group } => (proto::DeliveryMode::WorkerPool, group.to_string(), String::new()),
        Mode::Broadcast { consumer } => {
            let name = consumer.as_ref().map(ToString::to_string).unwrap_or_default();
            (proto::DeliveryMode::Broadcast, String::new(), name)
        }
    };
    let mut written = proto::SubscribeRequest {
        event: request.target.to_string(),
        worker_group,
        max_age: request.max_age.map(time::write_duration),
        latest_only: request.latest_only,
        buffer_size: number(request.buffer).try_into().unwrap_or(i32::MAX),
        consumer_id,
        max_in_flight: number(request.max_in_flight),
        ack_wait: request.ack_wait.map(time::write_duration),
        max_deliver: request.max_deliver.unwrap_or_default(),
        ..proto::SubscribeRequest::default()
    };
    written.set_delivery_mode(delivery_mode);
    written.set_ack_mode(match request.ack {
        AckMode::Auto => proto::AckMode::Auto,
        AckMode::Manual => proto::AckMode::Manual,
    });
    written.set_slow_policy(match request.slow {
        None => proto::SlowPolicy::Unspecified,
        Some(SlowPolicy::Pause) => proto::SlowPolicy::Pause,
        Some(SlowPolicy::DropOldest) => proto::SlowPolicy::DropOldest,
        Some(SlowPolicy::Conflate) => proto::SlowPolicy::Conflate,
        Some(SlowPolicy::Disconnect) => proto::SlowPolicy::Disconnect,
    });
    write_start(&mut written, &request.start);
    written
}

fn write_start(written: &mut proto::SubscribeRequest, start: &Start) {
    match start {
        Start::Beginning => written.set_start_from(proto::StartPosition::Beginning),
        Start::Latest => written.set_start_from(proto::StartPosition::Latest),
        Start::At(time) => {
            written.set_start_from(proto::StartPosition::Timestamp);
            written.start_time = Some(time::write_time(*time));
        }
        Start::After(cursor) => written.start_after = cursor.to_string(),
    }
}

fn number(size: Option<usize>) -> u32 {
    size.map(|size| u32::try_from(size).unwrap_or(u32::MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use busgate_core::{ErrorKind, Timestamp};
    use proptest::prelude::*;

    use super::*;

    fn target() -> Pattern {
        Pattern::new("orders.>").unwrap()
    }

    fn plain() -> proto::SubscribeRequest {
        proto::SubscribeRequest { event: "orders.>".into(), ..proto::SubscribeRequest::default() }
    }

    #[test]
    fn an_event_alone_is_a_live_broadcast() {
        assert_eq!(subscribe(&plain()).unwrap(), SubscribeRequest::broadcast(target()));
    }

    #[test]
    fn every_option_arrives() {
        let full = SubscribeRequest {
            start: Start::At(Timestamp::from_nanos(1_500_000_001)),
            ack: AckMode::Auto,
            ack_wait: Some(Duration::from_millis(500)),
            max_deliver: Some(3),
            max_in_flight: Some(7),
            max_age: Some(Duration::from_secs(60)),
            latest_only: true,
            buffer: Some(9),
            slow: Some(SlowPolicy::Conflate),
            ..SubscribeRequest::pool(target(), GroupName::new("g").unwrap())
        };
        let after = Start::After(Cursor::new("c").unwrap());
        let consumer = SubscribeRequest::consumer(target(), ConsumerName::new("c1").unwrap());
        for start in [Start::Beginning, Start::Latest, after] {
            for request in [full.clone(), consumer.clone(), SubscribeRequest::broadcast(target())] {
                let request = SubscribeRequest { start: start.clone(), ..request };
                assert_eq!(subscribe(&subscribe_request(&request)).unwrap(), request);
            }
        }
        assert_eq!(subscribe(&subscribe_request(&full)).unwrap(), full);
    }

    #[test]
    fn every_slow_policy_arrives() {
        for slow in [SlowPolicy::Pause, SlowPolicy::DropOldest, SlowPolicy::Conflate, SlowPolicy::Disconnect]
        {
            let request = SubscribeRequest { slow: Some(slow), ..SubscribeRequest::broadcast(target()) };
            assert_eq!(subscribe(&subscribe_request(&request)).unwrap(), request);
        }
    }

    #[test]
    fn a_client_that_always_sends_a_position_resumes_after_its_cursor() {
        let request = proto::SubscribeRequest { start_from: 1, start_after: "c9".into(), ..plain() };
        assert_eq!(subscribe(&request).unwrap().start, Start::After(Cursor::new("c9").unwrap()));
    }

    #[test]
    fn a_worker_that_sends_a_consumer_id_is_a_worker() {
        let request = proto::SubscribeRequest {
            delivery_mode: 2,
            worker_group: "g".into(),
            consumer_id: "node-1".into(),
            ..plain()
        };
        let mode = subscribe(&request).unwrap().mode;
        assert_eq!(mode, Mode::WorkerPool { group: GroupName::new("g").unwrap() });
    }

    #[test]
    fn unknown_values_are_refused() {
        let kind = |request| subscribe(&request).unwrap_err().kind();
        for bad in [
            proto::SubscribeRequest { event: "a b".into(), ..plain() },
            proto::SubscribeRequest { delivery_mode: 9, ..plain() },
            proto::SubscribeRequest { worker_group: "g".into(), ..plain() },
            proto::SubscribeRequest { start_from: -1, ..plain() },
            proto::SubscribeRequest { start_from: 3, ..plain() },
            proto::SubscribeRequest { buffer_size: -1, ..plain() },
            proto::SubscribeRequest { ack_mode: 3, ..plain() },
            proto::SubscribeRequest { slow_policy: 5, ..plain() },
            proto::SubscribeRequest { start_after: "\n".into(), ..plain() },
            proto::SubscribeRequest {
                max_age: Some(prost_types::Duration { seconds: -1, nanos: 0 }),
                ..plain()
            },
        ] {
            assert_eq!(kind(bad), ErrorKind::Invalid);
        }
        let filtered = proto::SubscribeRequest { filter: "x".into(), ..plain() };
        assert_eq!(kind(filtered), ErrorKind::Unsupported);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            if let Ok(request) = prost::Message::decode(&bytes[..]) {
                let _ = subscribe(&request);
            }
        }
    }
}
