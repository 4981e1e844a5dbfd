//! The window in which an id is taken once.

use std::{sync::Arc, time::Duration};

use busgate_core::Start;

use crate::{
    Claim, Stage, Verdict,
    ask::{self, deduplicated},
    stage::{nth, only},
};

/// catches: a retried publish that becomes a second message.
pub async fn the_same_id_is_taken_once(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Dedup]).await? {
        return both_are_taken(&stage).await;
    }
    let event = stage.event().await?;
    let mut live = stage.subscribe(&event, ask::live()).await?;
    let first = only(stage.publish(&event, ["same"]).await?)?;
    let second = only(stage.publish(&event, ["same"]).await?)?;
    ensure!(!first.duplicate && second.duplicate, "duplicates: {} and {}", first.duplicate, second.duplicate);
    ensure_eq!(second.id, first.id, "the id of the duplicate");
    stage.publish(&event, ["marker"]).await?;
    live.first("same").await?;
    live.first("marker").await.map(drop)
}

/// Without the claim nothing is dropped: the refusal of a window was shown already.
async fn both_are_taken(stage: &Stage) -> Verdict {
    let event = stage.event().await?;
    let mut live = stage.subscribe(&event, ask::live()).await?;
    for _ in 0..2 {
        ensure!(!only(stage.publish(&event, ["same"]).await?)?.duplicate, "a duplicate without the claim");
    }
    live.first("same").await?;
    live.first("same").await.map(drop)
}

/// catches: a duplicate that claims a place of its own.
pub async fn a_duplicate_answers_the_place_of_the_first(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Dedup]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let receipts = stage.publish(&event, ["other", "same", "more"]).await?;
    let again = only(stage.publish(&event, ["same"]).await?)?;
    if let Some(cursor) = again.cursor {
        ensure_eq!(Some(cursor), nth(&receipts, 1)?.cursor.clone(), "the place of the duplicate");
    }
    Ok(())
}

/// catches: a window that is looked at only between batches.
pub async fn within_one_batch_the_first_wins(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Dedup]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut live = stage.subscribe(&event, ask::live()).await?;
    let receipts = stage.publish(&event, ["a", "same", "b", "same", "same", "c"]).await?;
    let duplicates: Vec<_> = receipts.iter().map(|receipt| receipt.duplicate).collect();
    ensure_eq!(duplicates, [false, false, false, true, true, false], "the duplicates of the batch");
    live.ack_all(["a", "same", "b", "c"]).await?;
    live.quiet().await
}

/// catches: one window for all events.
pub async fn each_event_has_its_own_window(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Dedup]).await? {
        return Ok(());
    }
    let (left, right) = (stage.event().await?, stage.event().await?);
    stage.publish(&left, ["same"]).await?;
    let other = only(stage.publish(&right, ["same"]).await?)?;
    ensure!(!other.duplicate, "the id of another event is a duplicate here");
    Ok(())
}

/// catches: a window that can't be turned off.
pub async fn a_window_of_zero_takes_all(stage: Stage) -> Verdict {
    let event = stage.event_with(&deduplicated(Duration::ZERO)).await?;
    let mut live = stage.subscribe(&event, ask::live()).await?;
    let receipts = stage.publish(&event, ["same", "same"]).await?;
    ensure!(!receipts.iter().any(|receipt| receipt.duplicate), "a duplicate without a window");
    live.first("same").await?;
    live.first("same").await.map(drop)
}

/// catches: ids that are remembered for ever, or never.
pub async fn an_id_is_free_again_after_the_window(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Dedup]).await? {
        return Ok(());
    }
    let window = stage.pace().short * 2;
    let event = stage.event_with(&deduplicated(window)).await?;
    stage.publish(&event, ["same"]).await?;
    stage.pass(window / 4).await;
    ensure!(only(stage.publish(&event, ["same"]).await?)?.duplicate, "the id is free within its window");
    stage.pass(window + stage.pace().slack).await;
    ensure!(!only(stage.publish(&event, ["same"]).await?)?.duplicate, "the id is taken after its window");
    Ok(())
}

/// catches: a window that a duplicate prolongs.
pub async fn a_duplicate_does_not_prolong_the_window(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Dedup]).await? {
        return Ok(());
    }
    let window = stage.pace().short * 3;
    let event = stage.event_with(&deduplicated(window)).await?;
    stage.publish(&event, ["same"]).await?;
    stage.pass(window * 2 / 3).await;
    ensure!(only(stage.publish(&event, ["same"]).await?)?.duplicate, "the id is free within its window");
    stage.pass(window / 3 + stage.pace().slack).await;
    ensure!(!only(stage.publish(&event, ["same"]).await?)?.duplicate, "a duplicate prolonged the window");
    Ok(())
}

/// catches: ids that are forgotten with their message.
pub async fn the_id_of_a_settled_message_is_still_taken(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Dedup, Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["same"]).await?;
    member.ack_all(["same"]).await?;
    ensure!(
        only(stage.publish(&event, ["same"]).await?)?.duplicate,
        "the id is free once its message is done"
    );
    stage.publish(&event, ["marker"]).await?;
    member.ack_all(["marker"]).await
}

/// catches: a check and an append with room for another publisher between them.
pub async fn of_concurrent_publishes_one_wins(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Dedup]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    for round in 0..10 {
        let id = format!("same{round}");
        let mut calls = Vec::new();
        for _ in 0..8 {
            let (transport, event, message) =
                (Arc::clone(stage.transport()), event.clone(), stage.message(&id)?);
            calls.push(async move { transport.publish(&event, vec![message]).await });
        }
        let mut taken = 0;
        for answers in stage.together(calls).await? {
            taken += usize::from(!only(answers)??.duplicate);
        }
        ensure_eq!(taken, 1, "how many of 8 were taken");
    }
    if stage.claimed(Claim::Replay) {
        ensure_eq!(stage.read(&event, Start::Beginning).await?.len(), 10, "messages held");
    }
    Ok(())
}
