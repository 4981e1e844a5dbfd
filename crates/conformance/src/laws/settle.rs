//! What each verb does to a message.

use std::time::Duration;

use busgate_core::{LeaseToken, Nack, Settled, Settlement, Verb};
use tokio::time::Instant;

use crate::{
    Claim, Stage, Verdict, Watch,
    ask::{self, Asking},
    watch::token,
};

/// A group's only member, with the messages `ids` published to it.
async fn with_messages(stage: &Stage, ids: &[&str]) -> Verdict<Watch> {
    let event = stage.event().await?;
    let watch = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ids).await?;
    Ok(watch)
}

/// catches: an ack that is answered and forgotten.
pub async fn an_acked_message_is_done(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let lease = stage.pace().short;
    let mut member = stage.subscribe(&event, ask::pool()?.lease(lease)).await?;
    stage.publish(&event, ["a"]).await?;
    let token = member.lease("a").await?;
    ensure_eq!(stage.settle(&token, Verb::Ack).await?, Settled::Acked, "the ack");
    member.quiet_for(lease * 2 + stage.pace().slack).await?;
    drop(member);
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["marker"]).await?;
    member.ack_all(["marker"]).await
}

/// catches: a nack that is answered at once, late, or never.
pub async fn a_nacked_message_comes_back_after_its_delay(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool, Claim::Redelivery, Claim::DelayedRequeue]).await? {
        return Ok(());
    }
    let mut member = with_messages(&stage, &["a"]).await?;
    let token = member.lease("a").await?;
    let (since, delay) = (Instant::now(), stage.pace().short);
    stage.nack(&token, delay).await?;
    let again = member.attempt_after("a", 2, since, delay).await?;
    ensure_eq!(again.ack().await?, Settled::Acked, "the ack of the second attempt");
    member.quiet().await
}

/// catches: a delay of nothing that is taken for the default backoff.
pub async fn a_delay_of_zero_comes_back_at_once(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool, Claim::Redelivery, Claim::DelayedRequeue]).await? {
        return Ok(());
    }
    let mut member = with_messages(&stage, &["a"]).await?;
    let token = member.lease("a").await?;
    let since = Instant::now();
    stage.nack(&token, Duration::ZERO).await?;
    member.attempt_after("a", 2, since, Duration::ZERO).await.map(drop)
}

/// catches: a delay that is cut to the lease.
pub async fn a_delay_longer_than_the_lease_is_kept(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool, Claim::Redelivery, Claim::DelayedRequeue]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let (lease, delay) = (stage.pace().short / 2, stage.pace().short * 2);
    let mut member = stage.subscribe(&event, ask::pool()?.lease(lease)).await?;
    stage.publish(&event, ["a"]).await?;
    let token = member.lease("a").await?;
    let since = Instant::now();
    stage.nack(&token, delay).await?;
    member.attempt_after("a", 2, since, delay).await.map(drop)
}

/// catches: a bare nack that becomes a hot loop, or that ignores the schedule asked for.
pub async fn a_nack_without_a_delay_backs_off(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool, Claim::Redelivery]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let step = stage.pace().short * 2;
    let mut member = stage.subscribe(&event, ask::pool()?.backoff(step)).await?;
    stage.publish(&event, ["a"]).await?;
    let token = member.lease("a").await?;
    let since = Instant::now();
    ensure_eq!(stage.settle(&token, Verb::Nack(Nack::default())).await?, Settled::Nacked, "the nack");
    member.quiet_for(step / 2).await?;
    let again = member.attempt("a", 2).await?;
    let came = since.elapsed();
    ensure!(came <= step * 3 / 2 + stage.pace().slack, "a backoff of {step:?} took {came:?}");
    ensure_eq!(again.ack().await?, Settled::Acked, "the ack of the second attempt");
    Ok(())
}

/// catches: a backoff that stays on its first step, or runs beyond its last.
pub async fn backoff_follows_its_steps(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool, Claim::Redelivery]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let (first, last) = (stage.pace().short / 2, stage.pace().short * 2);
    let mut options = ask::pool()?;
    options.retry.backoff = vec![first, last];
    let mut member = stage.subscribe(&event, options).await?;
    stage.publish(&event, ["a"]).await?;
    for (attempt, step) in [(1, first), (2, last), (3, last)] {
        let token = token(&member.attempt("a", attempt).await?)?;
        let since = Instant::now();
        stage.settle(&token, Verb::Nack(Nack::default())).await?;
        member.quiet_for(step / 2).await?;
        let token = crate::watch::token(&member.attempt("a", attempt + 1).await?)?;
        let came = since.elapsed();
        ensure!(came <= step * 3 / 2 + stage.pace().slack, "step {attempt}, of {step:?}, took {came:?}");
        // Not counted, so that the loop takes it again as the attempt it is.
        stage.settle(&token, Verb::Release { counted: false }).await?;
    }
    Ok(())
}

/// catches: attempts that are counted per connection, or not at all.
pub async fn attempts_are_counted(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool, Claim::Redelivery, Claim::DelayedRequeue]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let options = ask::pool()?.tries(100);
    let mut member = stage.subscribe(&event, options.clone()).await?;
    stage.publish(&event, ["a"]).await?;
    for attempt in 1..8 {
        let token = token(&member.attempt("a", attempt).await?)?;
        stage.nack(&token, Duration::ZERO).await?;
        if attempt % 3 == 0 {
            drop(member);
            member = stage.subscribe(&event, options.clone()).await?;
        }
    }
    member.attempt("a", 8).await.map(drop)
}

/// catches: a hand-back that counts as a failure, or that waits for the lease.
pub async fn a_release_is_not_counted(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool, Claim::Redelivery]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?.tries(2)).await?;
    stage.publish(&event, ["a"]).await?;
    for _ in 0..5 {
        let token = member.lease("a").await?;
        let settled = stage.settle(&token, Verb::Release { counted: false }).await?;
        ensure_eq!(settled, Settled::Released, "the release");
    }
    member.ack_all(["a"]).await
}

/// catches: a holder that went away with a message, whose attempt is forgotten.
pub async fn a_counted_release_is_counted(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool, Claim::Redelivery]).await? {
        return Ok(());
    }
    let mut member = with_messages(&stage, &["a"]).await?;
    let token = member.lease("a").await?;
    let since = Instant::now();
    let settled = stage.settle(&token, Verb::Release { counted: true }).await?;
    ensure_eq!(settled, Settled::Released, "the release");
    member.attempt_after("a", 2, since, Duration::ZERO).await.map(drop)
}

/// catches: an ack that comes too late by a moment and is lost, though nobody took the message.
pub async fn a_released_message_can_be_acked_until_it_is_taken(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool, Claim::Redelivery]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?.window(1)).await?;
    stage.publish(&event, ["a"]).await?;
    let token = member.lease("a").await?;
    drop(member);
    stage.left(&event).await?;
    stage.settle(&token, Verb::Release { counted: true }).await?;
    ensure_eq!(stage.settle(&token, Verb::Ack).await?, Settled::Acked, "an ack nobody has been faster than");
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["marker"]).await?;
    member.ack_all(["marker"]).await
}

/// catches: a batch that answers out of order, or that one bad entry spoils.
pub async fn a_batch_settles_each_for_itself(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool, Claim::Redelivery, Claim::DelayedRequeue, Claim::Extend]).await? {
        return Ok(());
    }
    let mut member = with_messages(&stage, &["a", "b", "c", "d"]).await?;
    let mut tokens = Vec::new();
    for id in ["a", "b", "c", "d"] {
        tokens.push(member.lease(id).await?);
    }
    let [a, b, c, d] = <[LeaseToken; 4]>::try_from(tokens).map_err(|_| crate::Broken::new("four leases"))?;
    stage.settle(&d, Verb::Ack).await?;
    let delay = Verb::Nack(Nack { delay: Some(Duration::ZERO), error: None });
    let asked = [(d, Verb::Ack), (a, Verb::Ack), (b, delay), (c, Verb::Extend(Duration::from_secs(60)))];
    let batch = asked.into_iter().map(|(token, verb)| Settlement { token, verb }).collect();
    let answers = stage.transport().settle(batch).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let wanted = [Settled::Stale, Settled::Acked, Settled::Nacked, Settled::Extended];
    ensure_eq!(answers, wanted, "the answers of a mixed batch");
    member.attempt("b", 2).await.map(drop)
}

/// catches: a batch that looks up all tokens before it settles the first.
pub async fn the_same_token_twice_in_a_batch_settles_once(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let mut member = with_messages(&stage, &["a"]).await?;
    let token = member.lease("a").await?;
    let batch = (0..3).map(|_| Settlement { token: token.clone(), verb: Verb::Ack }).collect();
    let answers = stage.transport().settle(batch).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    ensure_eq!(answers, [Settled::Acked, Settled::Stale, Settled::Stale], "three acks of one token");
    Ok(())
}

/// catches: an ack that finds its lease busy with an extension, and is taken for stale.
pub async fn an_ack_beside_an_extension_counts(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool, Claim::Extend]).await? {
        return Ok(());
    }
    let mut member = with_messages(&stage, &["a", "b", "c"]).await?;
    for id in ["a", "b", "c"] {
        let token = member.lease(id).await?;
        let extend = stage.settle(&token, Verb::Extend(stage.pace().short));
        let (extended, acked) = tokio::join!(extend, stage.settle(&token, Verb::Ack));
        ensure_eq!(acked?, Settled::Acked, "the ack");
        ensure_matches!(extended?, Settled::Extended | Settled::Stale, "the extension");
    }
    Ok(())
}

/// catches: an empty batch that is taken for a fault.
pub async fn an_empty_batch_is_answered_with_nothing(stage: Stage) -> Verdict {
    ensure!(stage.transport().settle(Vec::new()).await.is_empty(), "an empty batch has answers");
    Ok(())
}

/// catches: a batch over a thousand leases that is cut, or slow as a square.
pub async fn a_large_batch_is_settled_whole(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let count = stage.pace().many;
    let mut member = stage.subscribe(&event, ask::pool()?.window(count)).await?;
    stage.publish(&event, crate::stage::ids("m", count)).await?;
    let mut batch = Vec::new();
    for _ in 0..count {
        batch.push(Settlement { token: token(&member.delivery().await?)?, verb: Verb::Ack });
    }
    let answers = stage.transport().settle(batch).await;
    ensure_eq!(answers.len(), count, "the number of answers");
    for answer in answers {
        ensure_eq!(answer?, Settled::Acked, "an ack of the batch");
    }
    Ok(())
}

/// catches: settling through the delivery that takes another way than settling by token.
pub async fn a_delivery_settles_itself(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool, Claim::Redelivery, Claim::DelayedRequeue, Claim::Extend]).await? {
        return Ok(());
    }
    let mut member = with_messages(&stage, &["a"]).await?;
    let mut delivery = member.first("a").await?;
    ensure_eq!(delivery.extend(Duration::from_secs(60)).await?, Settled::Extended, "the extension");
    let nack = Nack { delay: Some(Duration::ZERO), error: Some("try again".into()) };
    ensure_eq!(delivery.nack(nack).await?, Settled::Nacked, "the nack");
    ensure_eq!(member.attempt("a", 2).await?.ack().await?, Settled::Acked, "the ack");
    Ok(())
}
