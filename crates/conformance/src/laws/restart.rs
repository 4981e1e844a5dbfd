//! What a node that ends, and one that is killed, must not forget: messages, events, ids, cursors.

use std::time::Duration;

use busgate_core::{EventConfig, Start};

use crate::{
    Broken, Claim, Stage, Stop, Verdict,
    ask::{self, deduplicated},
    stage::{ids, nth, only},
};

/// Both ways to end.
pub(super) const BOTH: [Stop; 2] = [Stop::Kill, Stop::Close];

/// Ends the node and opens it again. Whoever claims `durable` must be able to; a transport that does not claim it must
/// start clean, which `without_durability_it_starts_clean` shows.
pub(super) async fn again(stage: Stage, stop: Stop) -> Verdict<Stage> {
    match stage.reopen(stop).await {
        Some(stage) => Ok(stage),
        None => Err(Broken::new("claims `durable`, but the harness can't open it again")),
    }
}

pub(super) async fn durable(stage: &Stage, claims: &[Claim]) -> Verdict<bool> {
    Ok(stage.capabilities().durable && stage.claims(claims).await?)
}

/// catches: a node without durability that comes back half-remembering, or not at all.
pub async fn without_durability_it_starts_clean(stage: Stage) -> Verdict {
    if stage.capabilities().durable {
        return Ok(());
    }
    let event = stage.event().await?;
    stage.publish(&event, ["old"]).await?;
    let Some(stage) = stage.reopen(Stop::Close).await else { return Ok(()) };
    stage.transport().register(&event, &EventConfig::default()).await?;
    let mut live = stage.subscribe(&event, ask::live()).await?;
    stage.publish(&event, ["new"]).await?;
    live.first("new").await.map(drop)
}

/// catches: `Ok` on publish for what a crash takes away, and what a crash doubles.
pub async fn messages_survive(stage: Stage) -> Verdict {
    if !durable(&stage, &[Claim::Replay]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let (mut stage, mut sent) = (stage, Vec::new());
    for (round, stop) in BOTH.into_iter().chain(BOTH).enumerate() {
        let more = ids(&format!("r{round}-"), 20);
        stage.publish(&event, &more).await?;
        sent.extend(more);
        stage = again(stage, stop).await?;
        ensure_eq!(stage.held(&event).await?, sent, "what is held after {stop:?}");
    }
    Ok(())
}

/// catches: payloads and metadata that are kept in memory only.
pub async fn what_a_message_carries_survives(stage: Stage) -> Verdict {
    if !durable(&stage, &[Claim::Replay]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut sent = stage.keyed("key", "m")?;
    sent.payload = (0..=255).cycle().take(70_000).collect::<Vec<u8>>().into();
    sent.content_type = Some("application/octet-stream".into());
    sent.metadata = [("Trace-Id", "t"), ("empty", "")].map(|(key, value)| (key.into(), value.into())).into();
    stage.publish_one(&event, sent.clone()).await?;
    let stage = again(stage, Stop::Kill).await?;
    let (_, found) = only(stage.read(&event, Start::Beginning).await?)?;
    ensure!(
        found.payload == sent.payload && found.metadata == sent.metadata,
        "the payload or metadata is another"
    );
    ensure_eq!((&found.key, &found.content_type), (&sent.key, &sent.content_type), "key and content type");
    Ok(())
}

/// catches: events that have to be registered again, or that come back after they were unregistered.
pub async fn registrations_survive(stage: Stage) -> Verdict {
    if !durable(&stage, &[Claim::Dedup]).await? {
        return Ok(());
    }
    let mut stage = stage;
    let config = deduplicated(Duration::from_secs(77));
    for stop in BOTH {
        let (kept, gone) = (stage.event_with(&config).await?, stage.event().await?);
        stage.transport().unregister(&gone).await?;
        stage = again(stage, stop).await?;
        let infos = stage.transport().events().await?;
        ensure!(!infos.iter().any(|info| info.name == gone), "an unregistered event is back after {stop:?}");
        let info = only(infos.into_iter().filter(|info| info.name == kept).collect())?;
        ensure_eq!(info.config.dedup_window, config.dedup_window, "the configuration after {stop:?}");
        stage.publish(&kept, ["a"]).await?;
    }
    Ok(())
}

/// catches: a retry after a crash that becomes a second message.
pub async fn the_ids_remembered_survive(stage: Stage) -> Verdict {
    if !durable(&stage, &[Claim::Dedup]).await? {
        return Ok(());
    }
    let event = stage.event_with(&deduplicated(Duration::from_secs(3600))).await?;
    let mut stage = stage;
    stage.publish(&event, ["same"]).await?;
    for stop in BOTH {
        stage = again(stage, stop).await?;
        ensure!(only(stage.publish(&event, ["same"]).await?)?.duplicate, "the id is free after {stop:?}");
    }
    ensure!(!only(stage.publish(&event, ["other"]).await?)?.duplicate, "an id that is new is taken");
    Ok(())
}

/// catches: cursors that mean something else after a restart.
pub async fn cursors_survive(stage: Stage) -> Verdict {
    if !durable(&stage, &[Claim::Replay]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    stage.publish(&event, ["a", "b"]).await?;
    let (cursor, _) = nth(&stage.read(&event, Start::Beginning).await?, 0)?.clone();
    let mut stage = stage;
    for stop in BOTH {
        stage = again(stage, stop).await?;
        let mut rest = stage.subscribe(&event, ask::from(Start::After(cursor.clone()))).await?;
        rest.first("b").await?;
    }
    stage.publish(&event, ["c"]).await?;
    let page = stage.page(&event, Start::After(cursor), 10).await?;
    ensure!(page.gap.is_none() && page.messages.len() == 2, "after the restarts comes {page:?}");
    Ok(())
}
