//! `busgate events` and `busgate health`.

use std::{fmt::Write, process::ExitCode};

use busgate_core::{EventConfig, EventName, HealthStatus, Result, Transport};

use super::{
    FAILED,
    args::{Events, EventsAction, Target},
    client::connect,
    say,
};
use crate::config::Environment;

/// Lists, registers or unregisters.
pub(super) async fn run(events: Events, environment: &Environment) -> Result<ExitCode> {
    let client = connect(&events.target, environment).await?;
    match events.action.unwrap_or(EventsAction::List) {
        EventsAction::List => {
            let mut lines = String::new();
            for info in client.events().await? {
                let messages = info.messages.map_or_else(|| "?".into(), |count| count.to_string());
                _ = writeln!(lines, "{}\t{messages}", info.name);
            }
            Ok(say(&lines))
        }
        EventsAction::Register { event } => {
            client.register(&EventName::new(event)?, &EventConfig::default()).await?;
            Ok(ExitCode::SUCCESS)
        }
        EventsAction::Unregister { event } => {
            client.unregister(&EventName::new(event)?).await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Says how the gateway is.
pub(super) async fn health(target: Target, environment: &Environment) -> Result<ExitCode> {
    let client = connect(&target, environment).await?;
    let health = client.health().await;
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
