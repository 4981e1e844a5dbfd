//! Windows: how much a subscription holds, and that nobody else pays for it.

use std::time::Duration;

use busgate_core::{Settled, Start, Verb};
use tokio::time::Instant;

use crate::{
    Claim, Stage, Verdict,
    ask::{self, Asking},
    stage::ids,
};

/// catches: a window that is ignored, or off by one.
pub async fn the_window_bounds_what_is_unsettled(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    for window in [1, 3] {
        let event = stage.event().await?;
        let mut member = stage.subscribe(&event, ask::pool()?.window(window)).await?;
        stage.publish(&event, ids("m", 10)).await?;
        let mut held = Vec::new();
        for id in ids("m", window) {
            held.push(member.first(&id).await?);
        }
        member.quiet().await?;
    }
    Ok(())
}

/// catches: a window that never opens again, or that opens wide on the first ack.
pub async fn an_ack_frees_one_place(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?.window(2)).await?;
    stage.publish(&event, ids("m", 6)).await?;
    let (first, _second) = (member.first("m0").await?, member.first("m1").await?);
    member.quiet_for(stage.pace().quiet / 3).await?;
    ensure_eq!(first.ack().await?, Settled::Acked, "the ack");
    let _third = member.first("m2").await?;
    member.quiet_for(stage.pace().quiet / 3).await
}

/// catches: a place that stays taken by a message which waits for its redelivery.
pub async fn a_nack_frees_its_place(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool, Claim::Redelivery, Claim::DelayedRequeue]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?.window(1)).await?;
    stage.publish(&event, ["a", "b"]).await?;
    let token = member.lease("a").await?;
    stage.nack(&token, Duration::from_secs(600)).await?;
    member.first("b").await.map(drop)
}

/// catches: a place that stays taken by a lease which ran out.
pub async fn the_end_of_a_lease_frees_its_place(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool, Claim::Redelivery]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let lease = stage.pace().short;
    let mut member = stage.subscribe(&event, ask::pool()?.window(1).lease(lease)).await?;
    stage.publish(&event, ["a", "b"]).await?;
    let since = Instant::now();
    let _held = member.first("a").await?;
    // Which of the two comes first is left open.
    for nth in 0..2 {
        let delivery = member.delivery().await?;
        let came = since.elapsed();
        ensure!(came + stage.pace().early >= lease, "with the window full {delivery:?} came after {came:?}");
        ensure!(came <= lease + stage.pace().slack * (nth + 1), "{delivery:?} came after {came:?}");
        let wanted = if delivery.message.id.as_str() == "a" { 2 } else { 1 };
        ensure_eq!(delivery.attempt, wanted, "the attempt of `{}`", delivery.message.id);
        delivery.ack().await?;
    }
    Ok(())
}

/// catches: a message that came back, and waits for as long as there are fresh ones.
pub async fn what_came_back_is_not_starved_by_fresh_messages(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool, Claim::Redelivery, Claim::DelayedRequeue]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?.window(4)).await?;
    stage.publish(&event, ids("m", 20)).await?;
    stage.nack(&member.lease("m0").await?, Duration::ZERO).await?;
    let since = Instant::now();
    for fresh in ids("f", 10_000) {
        stage.publish(&event, [&fresh]).await?;
        let delivery = member.delivery().await?;
        if delivery.message.id.as_str() == "m0" {
            return Ok(());
        }
        delivery.ack().await?;
        ensure!(since.elapsed() < stage.pace().patience, "fresh messages come, and `m0` waits");
        stage.pass(stage.pace().short / 50).await;
    }
    Err(crate::Broken::new("10,000 fresh messages came before `m0`"))
}

/// catches: a place that only the subscription's own settling frees.
pub async fn settling_by_token_frees_the_place(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?.window(1)).await?;
    stage.publish(&event, ["a", "b"]).await?;
    let token = member.lease("a").await?;
    ensure_eq!(stage.settle(&token, Verb::Ack).await?, Settled::Acked, "the ack");
    member.first("b").await.map(drop)
}

/// catches: one full member that stops its group.
pub async fn a_full_member_does_not_stop_the_group(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut full = stage.subscribe(&event, ask::pool()?.window(1)).await?;
    stage.publish(&event, ["held"]).await?;
    let _held = full.first("held").await?;
    let mut other = stage.subscribe(&event, ask::pool()?.window(2)).await?;
    for batch in 0..5 {
        let sent = ids(&format!("m{batch}-"), 4);
        stage.publish(&event, &sent).await?;
        other.ack_all(&sent).await?;
    }
    full.quiet_for(stage.pace().quiet / 3).await
}

/// catches: a subscriber that does not read, and holds up another one or the publisher.
pub async fn a_slow_subscriber_slows_nobody(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    let _never_reads = stage.subscribe(&event, ask::live().window(4)).await?;
    let mut quick = stage.subscribe(&event, ask::live().window(64)).await?;
    let count = stage.pace().many;
    for chunk in ids("m", count).chunks(32) {
        stage.publish(&event, chunk).await?;
        quick.ack_some(chunk.len()).await?;
    }
    Ok(())
}

/// catches: a group's backlog that is held up, or lost, because its members are slow.
pub async fn a_backlog_waits_for_its_group(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?.window(2)).await?;
    let sent = ids("m", stage.pace().many);
    for chunk in sent.chunks(250) {
        stage.publish(&event, chunk).await?;
    }
    let found = member.ack_some(sent.len()).await?;
    ensure!(!stage.capabilities().ordered || found == sent, "a backlog came in another order");
    Ok(())
}

/// catches: history that is read into memory as a whole, or stops at the window.
pub async fn history_longer_than_the_window_comes_whole(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let sent = ids("m", stage.pace().many);
    for chunk in sent.chunks(250) {
        stage.publish(&event, chunk).await?;
    }
    let mut all = stage.subscribe(&event, ask::from(Start::Beginning).window(5)).await?;
    let found = all.ack_some(sent.len()).await?;
    ensure!(!stage.capabilities().ordered || found == sent, "history came in another order");
    Ok(())
}
