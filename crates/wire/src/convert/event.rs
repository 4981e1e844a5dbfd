//! Events: registering, unregistering, listing, one in detail.

use busgate_core::{
    ConsumerLag, ConsumerName, Error, EventConfig, EventDetail, EventInfo, EventName, GroupName, Holder,
    Result,
};

use super::{
    describe::{read_capabilities, write_capabilities},
    place, place_text, time,
};
use crate::proto::event::v1 as proto;

/// Reads a request to register.
///
/// # Errors
/// `invalid` for a bad name or duration.
pub fn register(request: &proto::RegisterEventRequest) -> Result<(EventName, EventConfig)> {
    let event = EventName::new(&request.name)?;
    Ok((event, read_config(request.config.as_ref())?))
}

/// Writes a request to register.
#[must_use]
pub fn register_request(event: &EventName, config: &EventConfig) -> proto::RegisterEventRequest {
    let config = (!config.is_default()).then(|| write_config(config));
    proto::RegisterEventRequest { name: event.to_string(), config }
}

/// Reads a request to unregister.
///
/// # Errors
/// `invalid` for a bad name.
pub fn unregister(request: &proto::UnregisterEventRequest) -> Result<EventName> {
    EventName::new(&request.name)
}

/// Writes a request to unregister.
#[must_use]
pub fn unregister_request(event: &EventName) -> proto::UnregisterEventRequest {
    proto::UnregisterEventRequest { name: event.to_string() }
}

/// Writes the question for the events.
#[must_use]
pub const fn events_request() -> proto::ListEventsRequest {
    proto::ListEventsRequest {}
}

/// Writes a list of events.
#[must_use]
pub fn events(infos: &[EventInfo]) -> proto::ListEventsResponse {
    proto::ListEventsResponse {
        events: infos.iter().map(|info| info.name.to_string()).collect(),
        infos: infos.iter().map(write_info).collect(),
    }
}

/// Reads a list of events.
///
/// # Errors
/// `invalid` for a bad name, duration or cursor.
pub fn read_events(response: &proto::ListEventsResponse) -> Result<Vec<EventInfo>> {
    response.infos.iter().map(read_info).collect()
}

/// Reads a request for one event.
///
/// # Errors
/// `invalid` for a bad name.
pub fn detail(request: &proto::GetEventRequest) -> Result<EventName> {
    EventName::new(&request.name)
}

/// Writes a request for one event.
#[must_use]
pub fn detail_request(event: &EventName) -> proto::GetEventRequest {
    proto::GetEventRequest { name: event.to_string() }
}

/// Writes everything known of one event.
#[must_use]
pub fn detailed(detail: &EventDetail) -> proto::GetEventResponse {
    proto::GetEventResponse {
        info: Some(write_info(&detail.info)),
        consumers: detail.consumers.iter().map(write_lag).collect(),
        capabilities: Some(write_capabilities(&detail.capabilities)),
    }
}

/// Reads everything known of one event.
///
/// # Errors
/// `invalid` for a bad name, duration or cursor, and for what is missing.
pub fn read_detail(response: &proto::GetEventResponse) -> Result<EventDetail> {
    let info = response.info.as_ref().ok_or_else(|| Error::invalid("info is missing"))?;
    Ok(EventDetail {
        info: read_info(info)?,
        capabilities: read_capabilities(response.capabilities)?,
        consumers: response.consumers.iter().map(read_lag).collect::<Result<_>>()?,
    })
}

fn write_lag(lag: &ConsumerLag) -> proto::ConsumerLag {
    use proto::consumer_lag::Holder as Written;

    let holder = match &lag.holder {
        Holder::Group(name) => Written::WorkerGroup(name.to_string()),
        Holder::Consumer(name) => Written::ConsumerId(name.to_string()),
    };
    proto::ConsumerLag {
        holder: Some(holder),
        waiting: lag.waiting,
        in_flight: lag.in_flight,
        delayed: lag.delayed,
        members: lag.members,
    }
}

fn read_lag(lag: &proto::ConsumerLag) -> Result<ConsumerLag> {
    use proto::consumer_lag::Holder as Written;

    let holder = match &lag.holder {
        Some(Written::WorkerGroup(name)) => Holder::Group(GroupName::new(name)?),
        Some(Written::ConsumerId(name)) => Holder::Consumer(ConsumerName::new(name)?),
        None => return Err(Error::invalid("the holder is missing")),
    };
    Ok(ConsumerLag {
        holder,
        waiting: lag.waiting,
        in_flight: lag.in_flight,
        delayed: lag.delayed,
        members: lag.members,
    })
}

fn write_config(config: &EventConfig) -> proto::EventConfig {
    proto::EventConfig {
        dedup_window: config.dedup_window.map(time::write_duration),
        retention_age: config.retention_age.map(time::write_duration),
        retention_bytes: config.retention_bytes,
        retention_messages: config.retention_messages,
    }
}

fn read_config(config: Option<&proto::EventConfig>) -> Result<EventConfig> {
    let Some(config) = config else { return Ok(EventConfig::default()) };
    Ok(EventConfig {
        dedup_window: time::read_duration("dedup_window", config.dedup_window)?,
        retention_age: time::read_duration("retention_age", config.retention_age)?,
        retention_bytes: config.retention_bytes,
        retention_messages: config.retention_messages,
    })
}

fn write_info(info: &EventInfo) -> proto::EventInfo {
    proto::EventInfo {
        name: info.name.to_string(),
        config: Some(write_config(&info.config)),
        messages: info.messages,
        bytes: info.bytes,
        oldest_cursor: place_text(info.oldest.as_ref()),
        newest_cursor: place_text(info.newest.as_ref()),
    }
}

fn read_info(info: &proto::EventInfo) -> Result<EventInfo> {
    Ok(EventInfo {
        name: EventName::new(&info.name)?,
        config: read_config(info.config.as_ref())?,
        messages: info.messages,
        bytes: info.bytes,
        oldest: place(&info.oldest_cursor)?,
        newest: place(&info.newest_cursor)?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use busgate_core::{Capabilities, Cursor};

    use super::*;

    fn config() -> EventConfig {
        EventConfig {
            dedup_window: Some(Duration::ZERO),
            retention_age: Some(Duration::from_secs(60)),
            retention_bytes: Some(1),
            retention_messages: Some(u64::MAX),
        }
    }

    #[test]
    fn every_setting_arrives() {
        let event = EventName::new("orders").unwrap();
        for config in [config(), EventConfig::default()] {
            assert_eq!(register(&register_request(&event, &config)).unwrap(), (event.clone(), config));
        }
        assert_eq!(unregister(&unregister_request(&event)).unwrap(), event);
    }

    fn infos() -> [EventInfo; 2] {
        let name = EventName::new("orders").unwrap();
        let full = EventInfo {
            name: name.clone(),
            config: config(),
            messages: Some(0),
            bytes: Some(7),
            oldest: Some(Cursor::new("a").unwrap()),
            newest: Some(Cursor::new("b").unwrap()),
        };
        let bare = EventInfo {
            name,
            config: EventConfig::default(),
            messages: None,
            bytes: None,
            oldest: None,
            newest: None,
        };
        [full, bare]
    }

    #[test]
    fn every_fact_of_a_list_arrives() {
        assert_eq!(read_events(&events(&infos())).unwrap(), infos());
    }

    #[test]
    fn every_fact_of_one_event_arrives() {
        let lag = |holder, waiting| ConsumerLag { holder, waiting, in_flight: 1, delayed: 2, members: 3 };
        let group = Holder::Group(GroupName::new("g").unwrap());
        let consumers =
            vec![lag(group, Some(0)), lag(Holder::Consumer(ConsumerName::new("c").unwrap()), None)];
        let capabilities = Capabilities { replay: true, ..Capabilities::default() };
        for info in infos() {
            let written =
                detailed(&EventDetail { info: info.clone(), capabilities, consumers: consumers.clone() });
            let read = read_detail(&written).unwrap();
            assert_eq!(
                (read.info, read.capabilities, read.consumers),
                (info, capabilities, consumers.clone())
            );
        }
        let event = EventName::new("orders").unwrap();
        assert_eq!(detail(&detail_request(&event)).unwrap(), event);
        assert!(read_detail(&proto::GetEventResponse::default()).is_err());
    }
}
