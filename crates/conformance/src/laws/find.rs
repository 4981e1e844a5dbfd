//! One message, looked up by its own place.

use std::sync::Arc;

use busgate_core::{Cursor, ErrorKind, EventConfig, EventName, Message, Result, Start};

use super::gap::{MORE, overflow, short_lived};
use crate::{Broken, Claim, Stage, Verdict, ask, stage::nth};

async fn find(stage: &Stage, event: &EventName, place: &Cursor) -> Result<Option<Arc<Message>>> {
    stage.transport().find(event, place).await
}

async fn finds(stage: &Stage, event: &EventName, place: &Cursor, sent: &Message) -> Verdict {
    let Some(found) = find(stage, event, place).await? else {
        return Err(Broken::new(format!("{} is not found at {place}", sent.id)));
    };
    ensure_eq!((&found.id, &found.payload), (&sent.id, &sent.payload), "the message at {place}");
    Ok(())
}

/// catches: a neighbour found in its stead, and a partition that is not looked into.
pub async fn a_message_is_found_by_its_place(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let sent = [stage.keyed("k", "a")?, stage.message("b")?, stage.keyed("l", "c")?, stage.keyed("k", "d")?];
    stage.publish_batch(&event, sent.to_vec()).await?;
    let held = stage.read(&event, Start::Beginning).await?;
    ensure_eq!(held.len(), sent.len(), "how many messages are held");
    for (place, message) in &held {
        finds(&stage, &event, place, message).await?;
    }
    Ok(())
}

/// catches: a delivery whose place can't be looked up where it is settled, such as one that knows its own partition only.
pub async fn what_was_delivered_is_found(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let options = if stage.claimed(Claim::WorkerPool) { ask::pool()? } else { ask::live() };
    let mut watch = stage.subscribe(&event, options).await?;
    let sent = [stage.keyed("k", "a")?, stage.keyed("l", "b")?, stage.message("c")?];
    stage.publish_batch(&event, sent.to_vec()).await?;
    for _ in &sent {
        let delivery = watch.delivery().await?;
        finds(&stage, &event, &delivery.cursor, &delivery.message).await?;
    }
    Ok(())
}

/// catches: another life's message found in place of one, and an event that is gone taken for an empty one.
pub async fn what_is_gone_is_not_found(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    stage.publish(&event, ["a"]).await?;
    let place = nth(&stage.read(&event, Start::Beginning).await?, 0)?.0.clone();
    stage.transport().unregister(&event).await?;
    let kind = find(&stage, &event, &place).await.map_err(|error| error.kind());
    ensure_matches!(kind, Err(ErrorKind::NotFound), "in an event that is gone");
    stage.transport().register(&event, &EventConfig::default()).await?;
    stage.publish(&event, ["b", "c"]).await?;
    ensure_eq!(find(&stage, &event, &place).await?, None, "what is found of an earlier life");
    Ok(())
}

/// catches: the oldest message held found in place of one that retention took, or an error for it.
pub async fn what_retention_took_is_not_found(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let Some(event) = short_lived(&stage).await? else { return Ok(()) };
    stage.publish(&event, ["first"]).await?;
    let place = nth(&stage.read(&event, Start::Beginning).await?, 0)?.0.clone();
    overflow(&stage, &event, "m", MORE).await?;
    ensure_eq!(find(&stage, &event, &place).await?, None, "what is found");
    Ok(())
}

/// catches: the next message found at a place that is nobody's, or a wait for it.
pub async fn a_place_of_no_message_finds_none(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let place = stage.page(&event, Start::Latest, 1).await?.next;
    ensure_eq!(find(&stage, &event, &place).await?, None, "what is found in an empty event");
    stage.publish(&event, ["a"]).await?;
    ensure_eq!(find(&stage, &event, &place).await?, None, "what is found before the first message");
    Ok(())
}

/// catches: garbage, or a place of another event, that finds nothing instead of being refused.
pub async fn a_foreign_place_is_invalid(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let (event, other) = (stage.event().await?, stage.event().await?);
    stage.publish(&event, ["a"]).await?;
    stage.publish(&other, ["b"]).await?;
    let theirs = nth(&stage.read(&other, Start::Beginning).await?, 0)?.0.clone();
    for place in [Cursor::new("not~one.of:ours")?, theirs] {
        let kind = find(&stage, &event, &place).await.map_err(|error| error.kind());
        ensure_matches!(kind, Err(ErrorKind::Invalid), "{place}");
    }
    Ok(())
}
