//! Whoever waits is woken, by whatever it is that ends the waiting.
//!
//! Here the waiting and its end are in tasks of their own: in one task each would be polled for the other's sake.

use std::{sync::Arc, time::Duration};

use busgate_core::{ErrorKind, Nack, Settled, Settlement, Verb};

use crate::{
    Broken, Claim, Stage, Verdict, Watch,
    ask::{self, Asking},
    stage::{Later, only},
};

/// Publishes `id` a little later.
fn publishing(stage: &Stage, event: &busgate_core::EventName, id: &str) -> Verdict<Later<Verdict>> {
    let (transport, event, message) = (Arc::clone(stage.transport()), event.clone(), stage.message(id)?);
    Ok(stage.later(stage.pace().short / 20, async move {
        only(transport.publish(&event, vec![message]).await)??;
        Ok(())
    }))
}

/// Settles `token` a little later.
fn settling(stage: &Stage, token: &busgate_core::LeaseToken, verb: Verb) -> Later<Verdict<Settled>> {
    let (transport, token) = (Arc::clone(stage.transport()), token.clone());
    stage.later(stage.pace().short / 20, async move {
        Ok(only(transport.settle(vec![Settlement { token, verb }]).await)??)
    })
}

fn taking(stage: &Stage, mut watch: Watch, id: &'static str) -> Later<Verdict> {
    stage.later(Duration::ZERO, async move {
        watch.first(id).await?.ack().await?;
        Ok(())
    })
}

/// catches: a publish that wakes one of several subscribers.
pub async fn every_subscriber_is_woken_by_a_message(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(taking(&stage, stage.subscribe(&event, ask::live()).await?, "a"));
    }
    publishing(&stage, &event, "a")?.done().await??;
    for waiting in waiting {
        waiting.done().await??;
    }
    Ok(())
}

/// catches: a member of a group that waits while there is a message.
pub async fn a_member_is_woken_by_a_message(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    for id in ["a", "b", "c"] {
        let published = publishing(&stage, &event, id)?;
        member.ack_all([id]).await?;
        published.done().await??;
    }
    Ok(())
}

/// catches: as many messages as members, and a member that waits on.
pub async fn a_batch_wakes_as_many_members(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let mut member = stage.subscribe(&event, ask::pool()?.window(1)).await?;
        // It keeps what it took, so that each member has to take one.
        waiting.push(stage.later(Duration::ZERO, async move {
            let held = member.delivery().await?;
            Ok::<_, Broken>((member, held))
        }));
    }
    stage.pass(stage.pace().short / 20).await;
    stage.publish(&event, crate::stage::ids("m", 4)).await?;
    let mut held = Vec::new();
    for waiting in waiting {
        held.push(waiting.done().await??);
    }
    Ok(())
}

/// catches: a subscriber that waits on when an ack made room in its window.
pub async fn a_full_window_is_woken_by_an_ack(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?.window(1)).await?;
    stage.publish(&event, ["a", "b"]).await?;
    let token = member.lease("a").await?;
    let settled = settling(&stage, &token, Verb::Ack);
    member.first("b").await?;
    ensure_eq!(settled.done().await??, Settled::Acked, "the ack");
    Ok(())
}

/// catches: a subscriber that waits on when a nack or a reject made room in its window.
pub async fn a_full_window_is_woken_by_every_verb(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool, Claim::Redelivery, Claim::DelayedRequeue]).await? {
        return Ok(());
    }
    let later = Nack { delay: Some(Duration::from_secs(600)), error: None };
    let mut verbs = vec![Verb::Nack(later)];
    if stage.claimed(Claim::DeadLetters) {
        verbs.push(Verb::Reject { reason: "no".into() });
    }
    for verb in verbs {
        let event = stage.event().await?;
        let mut member = stage.subscribe(&event, ask::pool()?.window(1)).await?;
        stage.publish(&event, ["a", "b"]).await?;
        let token = member.lease("a").await?;
        let settled = settling(&stage, &token, verb);
        member.first("b").await?;
        settled.done().await??;
    }
    Ok(())
}

/// catches: a nack at once that nobody hears of.
pub async fn a_member_is_woken_by_what_came_back(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool, Claim::Redelivery, Claim::DelayedRequeue]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut holds = stage.subscribe(&event, ask::pool()?.window(1)).await?;
    stage.publish(&event, ["a"]).await?;
    let token = holds.lease("a").await?;
    drop(holds);
    let mut waits = stage.subscribe(&event, ask::pool()?).await?;
    let at_once = Nack { delay: Some(Duration::ZERO), error: None };
    let settled = settling(&stage, &token, Verb::Nack(at_once));
    waits.attempt("a", 2).await?;
    settled.done().await??;
    Ok(())
}

/// catches: a timer that sleeps for a later deadline when an earlier one is set.
pub async fn an_earlier_deadline_is_met(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool, Claim::Redelivery, Claim::DelayedRequeue]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?.lease(Duration::from_secs(3600))).await?;
    stage.publish(&event, ["late", "soon"]).await?;
    let (late, soon) = (member.lease("late").await?, member.lease("soon").await?);
    stage.nack(&late, Duration::from_secs(1800)).await?;
    let delay = stage.pace().short;
    let (waits, since) = (stage.pace().short / 20, tokio::time::Instant::now());
    let nack = Nack { delay: Some(delay), error: None };
    let settled = settling(&stage, &soon, Verb::Nack(nack));
    member.attempt_after("soon", 2, since, waits + delay).await?;
    settled.done().await??;
    Ok(())
}

/// catches: the next message of a key that is free and waits on.
pub async fn a_member_is_woken_when_a_key_is_free(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? || !stage.capabilities().ordered_keys {
        return Ok(());
    }
    let mut verbs = vec![Verb::Ack];
    if stage.claims(&[Claim::DeadLetters]).await? {
        verbs.push(Verb::Reject { reason: "no".into() });
    }
    for verb in verbs {
        let event = stage.event().await?;
        let mut holds = stage.subscribe(&event, ask::pool()?.window(1)).await?;
        stage.publish_batch(&event, vec![stage.keyed("k", "a")?, stage.keyed("k", "b")?]).await?;
        let token = holds.lease("a").await?;
        let mut waits = stage.subscribe(&event, ask::pool()?).await?;
        drop(holds);
        let settled = settling(&stage, &token, verb);
        waits.first("b").await?;
        settled.done().await??;
    }
    Ok(())
}

/// catches: a member woken for a message that goes away with it, while another one waits.
pub async fn a_member_that_leaves_unpolled_wakes_another(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    for round in 0..5 {
        let mut leaves = stage.subscribe(&event, ask::pool()?).await?;
        ensure!(leaves.glance().await.is_none(), "a delivery before any message");
        let mut stays = stage.subscribe(&event, ask::pool()?).await?;
        let id = format!("m{round}");
        let (expected, short) = (id.clone(), stage.pace().short);
        let waiting = stage.later(Duration::ZERO, async move { stays.ack_all([expected]).await });
        stage.pass(short / 20).await;
        stage.publish(&event, [&id]).await?;
        drop(leaves);
        waiting.done().await??;
    }
    Ok(())
}

/// catches: subscribers that wait on when their event is unregistered or the transport closes.
pub async fn everyone_is_woken_by_the_end(stage: Stage) -> Verdict {
    let mut options = vec![ask::live(), ask::live()];
    if stage.claimed(Claim::WorkerPool) {
        options.extend([ask::pool()?, ask::pool()?.window(1)]);
    }
    let (left, right) = (stage.event().await?, stage.event().await?);
    let (mut end_cleanly, mut end_unavailable) = (Vec::new(), Vec::new());
    for options in options {
        let mut watch = stage.subscribe(&left, options.clone()).await?;
        end_cleanly.push(stage.later(Duration::ZERO, async move { watch.ends().await }));
        let mut watch = stage.subscribe(&right, options).await?;
        end_unavailable
            .push(stage.later(Duration::ZERO, async move { watch.ends_with(ErrorKind::Unavailable).await }));
    }
    stage.pass(stage.pace().short / 20).await;
    stage.transport().unregister(&left).await?;
    stage.pass(stage.pace().short / 20).await;
    stage.transport().close().await?;
    for end in end_cleanly.into_iter().chain(end_unavailable) {
        end.done().await??;
    }
    Ok(())
}

/// catches: a consumer that waits on when another connection took over.
pub async fn the_earlier_one_is_woken_by_a_takeover(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Resume]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut earlier = stage.subscribe(&event, ask::consumer("reader")?).await?;
    let ended = stage.later(Duration::ZERO, async move { earlier.ends_with(ErrorKind::Exists).await });
    stage.pass(stage.pace().short / 20).await;
    let mut later = stage.subscribe(&event, ask::consumer("reader")?).await?;
    ended.done().await??;
    stage.publish(&event, ["a"]).await?;
    later.ack_all(["a"]).await
}
