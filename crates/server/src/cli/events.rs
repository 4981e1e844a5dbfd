//! `busgate events` and `busgate health`.

use std::{fmt::Write, process::ExitCode};

use busgate_core::{EventConfig, EventName, HealthStatus, Result};
use busgate_wire::{
    convert,
    proto::event::v1::{HealthRequest, ListEventsRequest},
};

use super::{
    FAILED,
    args::{Events, EventsAction, Target},
    client::{answer, connect},
    say,
};
use crate::config::Environment;

/// Lists, registers or unregisters.
pub(super) async fn run(events: Events, environment: &Environment) -> Result<ExitCode> {
    let mut client = connect(&events.target, environment).await?;
    match events.action.unwrap_or(EventsAction::List) {
        EventsAction::List => {
            let listed = answer(client.list_events(ListEventsRequest::default()).await)?;
            let mut lines = String::new();
            for info in convert::read_events(&listed)? {
                let messages = info.messages.map_or_else(|| "?".into(), |count| count.to_string());
                _ = writeln!(lines, "{}\t{messages}", info.name);
            }
            Ok(say(&lines))
        }
        EventsAction::Register { event } => {
            let request = convert::register_request(&EventName::new(event)?, &EventConfig::default());
            answer(client.register_event(request).await)?;
            Ok(ExitCode::SUCCESS)
        }
        EventsAction::Unregister { event } => {
            answer(client.unregister_event(convert::unregister_request(&EventName::new(event)?)).await)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Says how the gateway is.
pub(super) async fn health(target: Target, environment: &Environment) -> Result<ExitCode> {
    let mut client = connect(&target, environment).await?;
    let health = convert::read_health(answer(client.health(HealthRequest::default()).await)?);
    let (word, well) = match health.status {
        HealthStatus::Healthy => ("healthy", true),
        HealthStatus::Degraded => ("degraded", true),
        HealthStatus::Unhealthy => ("unhealthy", false),
    };
    let mut lines = format!("{word}: {}\n", health.message);
    for (name, value) in &health.details {
        _ = writeln!(lines, "{name}\t{value}");
    }
    let said = say(&lines);
    Ok(if well { said } else { ExitCode::from(FAILED) })
}
