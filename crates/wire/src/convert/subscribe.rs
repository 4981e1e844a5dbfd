//! Subscribing.

use std::time::Duration;

use busgate_core::{
    AckMode, ConsumerName, Error, GroupName, Mode, Pattern, Result, SlowPolicy, SubscribeRequest,
};

use super::{
    start::{read_start, write_start},
    time,
};
use crate::proto::event::v1 as proto;

/// Reads a request to subscribe: manual acks unless it says otherwise; a cursor goes before a position.
///
/// # Errors
/// `invalid` for a bad name or value; `unsupported` for what a later version will know.
pub fn subscribe(request: &proto::SubscribeRequest) -> Result<SubscribeRequest> {
    if !request.filter.is_empty() {
        return Err(Error::unsupported("`filter` is not supported"));
    }
    let start = read_start(request.start_from, request.start_time, &request.start_after)?;
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
        backoff: backoff(&request.backoff)?,
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

/// The delays, if there are any.
fn backoff(delays: &[prost_types::Duration]) -> Result<Option<Vec<Duration>>> {
    let read = |delay: &prost_types::Duration| time::read_duration("backoff", Some(*delay)).transpose();
    let delays = delays.iter().filter_map(read).collect::<Result<Vec<_>>>()?;
    Ok(Some(delays).filter(|delays| !delays.is_empty()))
}

/// No delay at all is written as one of nothing: none stands for the default.
fn write_backoff(delays: &[Duration]) -> Vec<prost_types::Duration> {
    let delays = if delays.is_empty() { &[Duration::ZERO] } else { delays };
    delays.iter().copied().map(time::write_duration).collect()
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
        backoff: request.backoff.as_deref().map(write_backoff).unwrap_or_default(),
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
    let start = write_start(&request.start);
    written.set_start_from(start.position);
    written.start_time = start.time;
    written.start_after = start.after;
    written
}

fn number(size: Option<usize>) -> u32 {
    size.map(|size| u32::try_from(size).unwrap_or(u32::MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use busgate_core::{Cursor, ErrorKind, Start, Timestamp};
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
            backoff: Some(vec![Duration::ZERO, Duration::from_millis(1500)]),
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
    fn no_delay_at_all_is_not_the_default() {
        let request = SubscribeRequest { backoff: Some(vec![]), ..SubscribeRequest::broadcast(target()) };
        let read = subscribe(&subscribe_request(&request)).unwrap();
        assert_eq!(read.backoff, Some(vec![Duration::ZERO]));
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
                backoff: vec![prost_types::Duration { seconds: -1, nanos: 0 }],
                ..plain()
            },
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
