//! Several nodes over one back end.

use std::{collections::BTreeSet, time::Duration};

use busgate_core::{ErrorKind, Nack, Settled, Verb};

use crate::{
    Broken, Claim, Stage, Verdict,
    ask::{self, Asking},
    laws::dead_letter::{LETTERS, letters, told},
    stage::{ids, only},
    watch::token,
};

/// A second node, where settling there is claimed. Where it is not, what another node handed out must be refused.
async fn other_node(stage: &Stage) -> Verdict<Option<Stage>> {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(None);
    }
    let other = stage.second().await;
    match (stage.capabilities().any_node_settle, other) {
        (true, Some(other)) => Ok(Some(other)),
        (true, None) => Err(Broken::new("claims any_node_settle, but the harness opens no second node")),
        (false, None) => Ok(None),
        (false, Some(other)) => refuses_foreign(stage, &other).await.map(|()| None),
    }
}

async fn refuses_foreign(stage: &Stage, other: &Stage) -> Verdict {
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["a"]).await?;
    let token = member.lease("a").await?;
    let answer = other.try_settle(&token, Verb::Ack).await.map_err(|error| error.kind());
    ensure_matches!(answer, Err(ErrorKind::Unsupported) | Ok(Settled::Unknown), "an ack at another node");
    ensure_eq!(stage.settle(&token, Verb::Ack).await?, Settled::Acked, "the ack at its own node");
    Ok(())
}

/// catches: a token that means nothing on the node behind the next connection.
pub async fn another_node_settles(stage: Stage) -> Verdict {
    let Some(other) = other_node(&stage).await? else { return Ok(()) };
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?.lease(stage.pace().short)).await?;
    stage.publish(&event, ["a"]).await?;
    let token = member.lease("a").await?;
    ensure_eq!(other.settle(&token, Verb::Ack).await?, Settled::Acked, "the ack at another node");
    ensure_eq!(stage.settle(&token, Verb::Ack).await?, Settled::Stale, "the ack at its own node after that");
    member.quiet_for(stage.pace().short * 2).await
}

/// catches: a nack at another node that is heard of only when the lease ends.
pub async fn another_node_gives_back(stage: Stage) -> Verdict {
    let Some(other) = other_node(&stage).await? else { return Ok(()) };
    if !stage.claims(&[Claim::Redelivery, Claim::DelayedRequeue]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["a"]).await?;
    let token = member.lease("a").await?;
    let nack = Verb::Nack(Nack { delay: Some(Duration::ZERO), error: None });
    ensure_eq!(other.settle(&token, nack).await?, Settled::Nacked, "the nack at another node");
    member.attempt("a", 2).await.map(drop)
}

/// catches: an extension at another node that the first one does not see.
pub async fn another_node_extends(stage: Stage) -> Verdict {
    let Some(other) = other_node(&stage).await? else { return Ok(()) };
    if !stage.claims(&[Claim::Redelivery, Claim::Extend]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let lease = stage.pace().short;
    let mut member = stage.subscribe(&event, ask::pool()?.lease(lease)).await?;
    stage.publish(&event, ["a"]).await?;
    let token = member.lease("a").await?;
    let extended = other.settle(&token, Verb::Extend(lease * 4)).await?;
    ensure_eq!(extended, Settled::Extended, "the extension at another node");
    member.quiet_for(lease * 2).await?;
    ensure_eq!(stage.settle(&token, Verb::Ack).await?, Settled::Acked, "the ack of an extended lease");
    Ok(())
}

/// catches: a nack at another node that forgets the backoff of the subscription.
pub async fn a_nack_at_another_node_backs_off(stage: Stage) -> Verdict {
    let Some(other) = other_node(&stage).await? else { return Ok(()) };
    if !stage.claims(&[Claim::Redelivery, Claim::DelayedRequeue, Claim::DeadLetters]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let step = stage.pace().short;
    let mut member = stage.subscribe(&event, ask::pool()?.backoff(step)).await?;
    stage.publish(&event, ["a"]).await?;
    let token = member.lease("a").await?;
    let started = tokio::time::Instant::now();
    ensure_eq!(other.settle(&token, Verb::Nack(Nack::default())).await?, Settled::Nacked, "the nack");
    member.attempt("a", 2).await?;
    let came = started.elapsed();
    ensure!(came + stage.pace().early >= step / 2, "a backoff of {step:?} took {came:?}");
    Ok(())
}

/// catches: a reject at another node that only brings the message back.
pub async fn another_node_rejects(stage: Stage) -> Verdict {
    let Some(other) = other_node(&stage).await? else { return Ok(()) };
    if !stage.claims(&LETTERS).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?.lease(stage.pace().short)).await?;
    stage.publish(&event, ["a"]).await?;
    let token = member.lease("a").await?;
    let reject = Verb::Reject { reason: "no such customer".into() };
    ensure_eq!(other.settle(&token, reject.clone()).await?, Settled::Rejected, "the reject at another node");
    let (_, letter) = only(letters(&stage, &event, 1).await?)?;
    ensure_eq!(&letter.payload[..], b"a", "what died");
    ensure_eq!(told(&letter, "reason"), Some("rejected"), "the reason");
    ensure_eq!(told(&letter, "last-error"), Some("no such customer"), "the error");
    ensure_eq!(told(&letter, "attempts"), Some("1"), "the attempts");
    ensure_eq!(other.settle(&token, reject).await?, Settled::Stale, "the same reject again");
    ensure_eq!(stage.settle(&token, Verb::Ack).await?, Settled::Stale, "an ack after it");
    member.quiet_for(stage.pace().short * 2).await?;
    letters(&stage, &event, 1).await.map(drop)
}

/// catches: attempts that are counted only where they were delivered.
pub async fn the_last_attempt_may_fail_at_another_node(stage: Stage) -> Verdict {
    let Some(other) = other_node(&stage).await? else { return Ok(()) };
    if !stage.claims(&LETTERS).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?.tries(2)).await?;
    stage.publish(&event, ["a"]).await?;
    for attempt in 1..=2 {
        let token = token(&member.attempt("a", attempt).await?)?;
        let nack = Nack { delay: Some(Duration::ZERO), error: Some(format!("failure {attempt}")) };
        ensure_eq!(other.settle(&token, Verb::Nack(nack)).await?, Settled::Nacked, "nack {attempt}");
    }
    let (_, letter) = only(letters(&stage, &event, 1).await?)?;
    ensure_eq!(told(&letter, "reason"), Some("max_deliver"), "the reason");
    ensure_eq!(told(&letter, "attempts"), Some("2"), "the attempts");
    ensure_eq!(told(&letter, "last-error"), Some("failure 2"), "the error");
    member.quiet_for(stage.pace().quiet).await
}

/// catches: a story of which each node tells only what it was told itself.
pub async fn the_story_goes_from_node_to_node(stage: Stage) -> Verdict {
    let Some(other) = other_node(&stage).await? else { return Ok(()) };
    if !stage.capabilities().durable || !stage.claims(&LETTERS).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let fail = |attempt: u32| {
        let error = Some(format!("failure {attempt}"));
        Verb::Nack(Nack { delay: Some(stage.pace().short), error })
    };
    let mut member = stage.subscribe(&event, ask::pool()?.tries(3)).await?;
    stage.publish(&event, ["a"]).await?;
    let first = token(&member.attempt("a", 1).await?)?;
    ensure_eq!(other.settle(&first, fail(1)).await?, Settled::Nacked, "the nack at another node");
    let second = token(&member.attempt("a", 2).await?)?;
    ensure_eq!(stage.settle(&second, fail(2)).await?, Settled::Nacked, "the nack at its own node");
    drop(member);
    stage.left(&event).await?;
    let mut member = other.subscribe(&event, ask::pool()?.tries(3)).await?;
    let third = token(&member.attempt("a", 3).await?)?;
    ensure_eq!(other.settle(&third, fail(3)).await?, Settled::Nacked, "the last nack");
    let (_, letter) = only(letters(&stage, &event, 1).await?)?;
    ensure_eq!(told(&letter, "attempts"), Some("3"), "the attempts");
    ensure_eq!(told(&letter, "first-error"), Some("failure 1"), "the first error");
    ensure_eq!(told(&letter, "last-error"), Some("failure 3"), "the last error");
    Ok(())
}

/// catches: a group that is one group per node.
pub async fn a_group_spans_nodes(stage: Stage) -> Verdict {
    let Some(other) = other_node(&stage).await? else { return Ok(()) };
    let event = stage.event().await?;
    let mut here = stage.subscribe(&event, ask::pool()?.window(3)).await?;
    let mut there = other.subscribe(&event, ask::pool()?.window(3)).await?;
    // Each under a key of its own: a back end may give every node some of the keys.
    let batch = ids("m", 24).into_iter().map(|id| stage.keyed(&id, &id)).collect::<Verdict<Vec<_>>>()?;
    stage.publish_batch(&event, batch).await?;
    let mut found = BTreeSet::new();
    for member in [&mut here, &mut there] {
        found.extend(member.ack_some(1).await?);
    }
    let started = tokio::time::Instant::now();
    while found.len() < 24 {
        ensure!(started.elapsed() < stage.pace().patience, "of 24 messages {found:?} came");
        for member in [&mut here, &mut there] {
            if let Some(delivery) = member.delivery_within(stage.pace().quiet / 10).await? {
                ensure!(found.insert(delivery.message.id.to_string()), "{delivery:?} came twice");
                delivery.ack().await?;
            }
        }
    }
    here.quiet_for(stage.pace().quiet / 3).await?;
    there.quiet_for(stage.pace().quiet / 3).await
}

/// catches: broadcast that stays on the node it was published at, and cursors that mean something on one node only.
pub async fn what_one_node_publishes_another_delivers(stage: Stage) -> Verdict {
    let Some(other) = other_node(&stage).await? else { return Ok(()) };
    let event = stage.event().await?;
    let mut live = other.subscribe(&event, ask::live()).await?;
    stage.publish(&event, ["a", "b"]).await?;
    let first = live.first("a").await?;
    live.first("b").await?;
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let rest = stage.read(&event, busgate_core::Start::After(first.cursor)).await?;
    let rest: Vec<_> = rest.iter().map(|(_, message)| message.id.as_str()).collect();
    ensure_eq!(rest, ["b"], "what follows, by a cursor of another node");
    Ok(())
}
