//! Topics: made, waited for, and deleted with their event.

use std::time::Duration;

use busgate_core::{ErrorKind, EventConfig, EventName, Result};
use tokio::time::{Instant, sleep};

use crate::{
    admin::Plan,
    config::topic::{apart, fitting},
    error,
    event::Event,
    shared::Shared,
};

/// How long to wait between looks at a topic that was just made.
const SETTLING: Duration = Duration::from_millis(10);

/// How large a batch of records may be: the largest payload a gateway can be configured to take, with its headers.
const MAX_MESSAGE_BYTES: u32 = 17 * 1024 * 1024;

/// How long a segment takes records where a topic has an age: no shorter, so that there are never very many, and no longer
/// than Kafka's own.
const SEGMENT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(7 * 24 * 3600));

/// Makes a topic of ours, if it is not there; how many partitions it has: another node may have been first.
///
/// # Errors
/// As the broker says; `within` is how long it may take to say whether it is there.
pub(crate) async fn ensure(shared: &Shared, plan: &Plan, within: Duration) -> Result<u16> {
    if let Some(partitions) = shared.asker.partitions_within(&plan.name, within).await? {
        return Ok(partitions);
    }
    shared.admin.create(plan).await?;
    settle(shared, &plan.name).await
}

/// Makes the topic of an event; its name, and whether it was not there before.
///
/// # Errors
/// As the broker says.
pub(super) async fn make(shared: &Shared, name: &EventName, asked: &EventConfig) -> Result<(String, bool)> {
    let wanted = fitting(shared.config.topic(name));
    let partitions = shared.config.partitions;
    let config = shared.config.effective(asked);
    let mut plan = Plan { name: wanted, partitions, config: settings(&config, partitions) };
    let refused = match shared.admin.create(&plan).await {
        Ok(is_new) => return Ok((plan.name, is_new)),
        Err(error) if error.kind() == ErrorKind::Unsupported => error,
        Err(error) => return Err(error),
    };
    // To Kafka, names that differ only in dots and underscores are one.
    plan.name = apart(&plan.name);
    let is_new = shared.admin.create(&plan).await.map_err(|_| refused)?;
    Ok((plan.name, is_new))
}

/// Makes the topic of a registered event again, should it have been deleted behind its back.
///
/// # Errors
/// As the broker says.
pub(super) async fn mend(shared: &Shared, event: &Event) -> Result<()> {
    if shared.asker.partitions(&event.topic).await?.is_some() {
        return Ok(());
    }
    tracing::warn!(event = %event.name, topic = event.topic, "the topic of a registered event was gone");
    let (partitions, config) = (event.partitions(), shared.config.effective(&event.config));
    let config = settings(&config, partitions);
    shared.admin.create(&Plan { name: event.topic.clone(), partitions, config }).await?;
    settle(shared, &event.topic).await.map(drop)
}

/// Deletes the topic of an event that was unregistered, and waits until nobody takes it for an event.
///
/// # Errors
/// As the broker says.
pub(crate) async fn delete(shared: &Shared, event: &Event) -> Result<()> {
    shared.admin.delete(&[&event.topic]).await?;
    let deadline = Instant::now() + shared.config.timeout;
    while shared.asker.partitions(&event.topic).await?.is_some() && Instant::now() < deadline {
        sleep(SETTLING).await;
    }
    Ok(())
}

/// Waits until a topic that was just made is known to whoever asks for it; how many partitions it has.
///
/// # Errors
/// As the broker says.
pub(super) async fn settle(shared: &Shared, topic: &str) -> Result<u16> {
    let deadline = Instant::now() + shared.config.timeout;
    loop {
        if let Some(partitions) = shared.asker.partitions(topic).await? {
            match shared.asker.ends(topic, partitions).await {
                Ok(_) => return Ok(partitions),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => {}
            }
        }
        if Instant::now() > deadline {
            return Err(error::late("a new topic"));
        }
        sleep(SETTLING).await;
    }
}

/// The settings of a topic whose event was registered with `config`.
fn settings(config: &EventConfig, partitions: u16) -> Vec<(&'static str, String)> {
    let mut settings = vec![("max.message.bytes", MAX_MESSAGE_BYTES.to_string())];
    if let Some(age) = config.retention_age {
        settings.extend(aged(age));
    }
    if let Some(bytes) = config.retention_bytes {
        // Kafka counts each partition by itself, and lets go of whole segments.
        let each = bytes.div_ceil(u64::from(partitions.max(1)));
        settings.push(("retention.bytes", each.to_string()));
        settings.push(("segment.bytes", (each / 4).clamp(1 << 20, 1 << 30).to_string()));
    }
    settings
}

/// The settings of a topic that holds nothing for much longer than `age`.
///
/// Invariant: a segment is over well before what came first in it is too old, however much comes after it. Kafka lets go of
/// whole segments only, once their newest record is too old (`what_is_too_old_is_let_go`).
pub(crate) fn aged(age: Duration) -> [(&'static str, String); 2] {
    let segment = (age / 4).clamp(SEGMENT.0, SEGMENT.1);
    let millis = |time: Duration| time.as_millis().max(1).to_string();
    [("retention.ms", millis(age)), ("segment.ms", millis(segment))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_an_age_is_in_pieces_of_a_quarter_of_it() {
        for (age, segment) in [(1, 1_000), (3600, 900_000), (10 * 365 * 24 * 3600, 7 * 24 * 3_600_000)] {
            let config =
                EventConfig { retention_age: Some(Duration::from_secs(age)), ..EventConfig::default() };
            let settings = settings(&config, 4);
            for (key, value) in [("retention.ms", age * 1000), ("segment.ms", segment)] {
                assert!(settings.contains(&(key, value.to_string())), "{key}: {settings:?}");
            }
        }
    }

    #[test]
    fn the_bytes_of_an_event_are_shared_out_over_its_partitions() {
        let config = EventConfig { retention_bytes: Some(40 << 20), ..EventConfig::default() };
        let settings = settings(&config, 4);
        for (key, value) in [("retention.bytes", 10 << 20), ("segment.bytes", 10 << 18)] {
            assert!(settings.contains(&(key, value.to_string())), "{key}: {settings:?}");
        }
        assert!(settings.iter().all(|(key, _)| *key != "retention.ms"), "the broker's own");
    }
}
