//! Events: registering, unregistering, listing.

use busgate_core::{EventConfig, EventInfo, EventName, Result};

use super::{place, place_text, time};
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

    use busgate_core::Cursor;

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

    #[test]
    fn every_fact_of_a_list_arrives() {
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
        let infos = vec![full, bare];
        assert_eq!(read_events(&events(&infos)).unwrap(), infos);
    }
}
