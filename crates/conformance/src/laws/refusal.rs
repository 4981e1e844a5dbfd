//! What is not claimed is refused, never ignored; what is claimed is not refused.

use std::time::Duration;

use busgate_core::{ErrorKind, EventConfig, Nack, Start, Verb};

use crate::{
    Claim, Stage, Verdict,
    ask::{self, Asking, deduplicated},
};

/// catches: history that is pretended to, and live messages given for it.
pub async fn replay(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    stage.subscribe(&event, ask::from(Start::Beginning)).await?;
    stage.page(&event, Start::Beginning, 1).await.map(drop)
}

/// catches: a start time that is ignored.
pub async fn replay_from_time(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::ReplayFromTime]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    stage.subscribe(&event, ask::from(Start::At(stage.now()))).await.map(drop)
}

/// catches: a worker group that is broadcast in disguise.
pub async fn worker_pool(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    stage.subscribe(&event, ask::pool()?).await.map(drop)
}

/// catches: a nack that nothing comes of.
pub async fn redelivery(stage: Stage) -> Verdict {
    nacked(stage, Claim::Redelivery, Nack::default()).await
}

/// catches: a nack's delay that is dropped.
pub async fn delayed_requeue(stage: Stage) -> Verdict {
    nacked(stage, Claim::DelayedRequeue, Nack { delay: Some(Duration::from_secs(1)), error: None }).await
}

async fn nacked(stage: Stage, claim: Claim, nack: Nack) -> Verdict {
    if !stage.claims(&[claim]).await? || !stage.claimed(Claim::WorkerPool) {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["a"]).await?;
    let token = member.lease("a").await?;
    stage.settle(&token, Verb::Nack(nack)).await.map(drop)
}

/// catches: an extension that is answered, and the lease ends all the same.
pub async fn extend(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Extend]).await? || !stage.claimed(Claim::WorkerPool) {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["a"]).await?;
    let token = member.lease("a").await?;
    stage.settle(&token, Verb::Extend(Duration::from_secs(60))).await.map(drop)
}

/// catches: a window that is configured and not kept.
pub async fn dedup(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Dedup]).await? {
        return Ok(());
    }
    stage.event_with(&deduplicated(Duration::from_secs(60))).await.map(drop)
}

/// catches: a consumer name that is taken and forgotten.
pub async fn resume(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Resume]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    stage.subscribe(&event, ask::consumer("reader")?).await.map(drop)
}

/// catches: a reject that is an ack in disguise.
pub async fn dead_letters(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::DeadLetters]).await? || !stage.claimed(Claim::WorkerPool) {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["a"]).await?;
    let token = member.lease("a").await?;
    stage.settle(&token, Verb::Reject { reason: "no".into() }).await.map(drop)
}

/// catches: bounds of retention that are accepted and forgotten: they must be listed, or refused.
pub async fn retention(stage: Stage) -> Verdict {
    let asked = [
        EventConfig { retention_age: Some(Duration::from_secs(3600)), ..EventConfig::default() },
        EventConfig { retention_bytes: Some(1 << 20), ..EventConfig::default() },
        EventConfig { retention_messages: Some(1000), ..EventConfig::default() },
    ];
    for config in asked {
        let event = stage.name()?;
        if let Err(error) = stage.transport().register(&event, &config).await {
            ensure_eq!(error.kind(), ErrorKind::Unsupported, "registering with {config:?}");
            continue;
        }
        let listed = stage.transport().events().await?.into_iter().find(|info| info.name == event);
        ensure_eq!(listed.map(|info| info.config), Some(config), "the configuration listed");
    }
    Ok(())
}

/// catches: capabilities that depend on the moment they are asked for.
pub async fn what_is_claimed_does_not_change(stage: Stage) -> Verdict {
    let before = stage.capabilities();
    let event = stage.event().await?;
    stage.publish(&event, ["a"]).await?;
    ensure_eq!(stage.capabilities(), before, "the capabilities after some use");
    Ok(())
}

/// catches: claims that contradict each other.
pub async fn claims_agree_with_each_other(stage: Stage) -> Verdict {
    let can = stage.capabilities();
    let leases = can.worker_pool || can.resume;
    for (what, claimed) in [
        ("redelivery", can.redelivery),
        ("delayed_requeue", can.delayed_requeue),
        ("extend", can.extend),
        ("ordered_keys", can.ordered_keys),
        ("any_node_settle", can.any_node_settle),
        ("dead_letters", can.dead_letters),
    ] {
        ensure!(!claimed || leases, "claims {what} without leases");
    }
    ensure!(!can.delayed_requeue || can.redelivery, "claims delayed_requeue without redelivery");
    ensure!(!can.replay_from_time || can.replay, "claims replay_from_time without replay");
    Ok(())
}

/// catches: figures out of bounds that are taken, and make a subscription that can do nothing.
pub async fn figures_out_of_bounds(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    let mut asked = vec![ask::live().window(0), ask::live().window(1_000_000)];
    if stage.claimed(Claim::WorkerPool) {
        asked.extend([ask::pool()?.tries(0), ask::pool()?.lease(Duration::ZERO)]);
    }
    for options in asked {
        let what = format!("{options:?}");
        let answer = stage.try_subscribe(&event, options).await.map(drop);
        ensure_matches!(answer.map_err(|error| error.kind()), Err(ErrorKind::Invalid), "{what}");
    }
    if stage.claimed(Claim::Replay) {
        let answer = stage.try_page(&event, Start::Beginning, 0).await.map(drop);
        ensure_matches!(answer.map_err(|error| error.kind()), Err(ErrorKind::Invalid), "a page of nothing");
    }
    let config = EventConfig { retention_messages: Some(0), ..EventConfig::default() };
    let answer = stage.transport().register(&stage.name()?, &config).await.map_err(|error| error.kind());
    ensure_matches!(answer, Err(ErrorKind::Invalid | ErrorKind::Unsupported), "retention of nothing");
    Ok(())
}
