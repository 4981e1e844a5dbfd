//! What a restart must not make groups and consumers forget.

use std::time::Duration;

use busgate_core::{Nack, Settled, Verb};

use super::restart::{BOTH, again, durable};
use crate::{
    Claim, Stage, Stop, Verdict,
    ask::{self, Asking},
    stage::{ids, only},
    watch::token,
};

/// catches: an answered ack that a crash takes back.
pub async fn acks_survive(stage: Stage) -> Verdict {
    if !durable(&stage, &[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut stage = stage;
    drop(stage.subscribe(&event, ask::pool()?).await?);
    for (round, stop) in BOTH.into_iter().enumerate() {
        let sent = ids(&format!("r{round}-"), 6);
        stage.publish(&event, &sent).await?;
        let mut member = stage.subscribe(&event, ask::pool()?).await?;
        // Acked out of order, with a hole that is settled last.
        let mut held = Vec::new();
        for id in &sent {
            held.push(member.first(id).await?);
        }
        for delivery in held.into_iter().rev() {
            ensure_eq!(delivery.ack().await?, Settled::Acked, "an ack");
        }
        drop(member);
        stage = again(stage, stop).await?;
        let mut member = stage.subscribe(&event, ask::pool()?).await?;
        let marker = format!("marker{round}");
        stage.publish(&event, [&marker]).await?;
        member.ack_all([&marker]).await.map_err(|broken| broken.during(&format!("after {stop:?}")))?;
    }
    Ok(())
}

/// catches: a position kept as one number, so that what was acked beyond a hole comes back.
pub async fn acks_beyond_a_hole_survive(stage: Stage) -> Verdict {
    if !durable(&stage, &[Claim::WorkerPool, Claim::Redelivery]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let options = ask::pool()?.lease(stage.pace().short);
    let mut member = stage.subscribe(&event, options.clone()).await?;
    stage.publish(&event, ["a", "b", "c", "d"]).await?;
    let held = member.first("a").await?;
    member.ack_all(["b", "c", "d"]).await?;
    drop((held, member));
    let stage = again(stage, Stop::Kill).await?;
    let mut member = stage.subscribe(&event, options).await?;
    let back = member.delivery().await?;
    ensure_eq!(back.message.id.as_str(), "a", "what comes back");
    back.ack().await?;
    stage.publish(&event, ["marker"]).await?;
    member.ack_all(["marker"]).await
}

/// catches: leases that die with the node and take their message along.
pub async fn what_was_held_comes_back(stage: Stage) -> Verdict {
    if !durable(&stage, &[Claim::WorkerPool, Claim::Redelivery]).await? {
        return Ok(());
    }
    let mut stage = stage;
    for stop in BOTH {
        let event = stage.event().await?;
        let options = ask::pool()?.lease(stage.pace().short);
        let mut member = stage.subscribe(&event, options.clone()).await?;
        stage.publish(&event, ["a", "b", "c"]).await?;
        let held = (member.first("a").await?, member.first("b").await?);
        drop((held, member));
        stage = again(stage, stop).await?;
        let mut member = stage.subscribe(&event, options).await?;
        let mut found = Vec::new();
        for _ in 0..3 {
            let delivery = member.delivery().await?;
            found.push(delivery.message.id.to_string());
            delivery.ack().await?;
        }
        found.sort();
        ensure_eq!(found, ["a", "b", "c"], "what comes back after {stop:?}");
    }
    Ok(())
}

/// catches: a poison message that a restart gives all its attempts again.
pub async fn attempts_survive(stage: Stage) -> Verdict {
    if !durable(&stage, &[Claim::WorkerPool, Claim::Redelivery, Claim::DelayedRequeue]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut stage = stage;
    let options = ask::pool()?.tries(100);
    drop(stage.subscribe(&event, options.clone()).await?);
    stage.publish(&event, ["a"]).await?;
    let mut attempt = 1;
    for stop in BOTH {
        let mut member = stage.subscribe(&event, options.clone()).await?;
        for _ in 0..2 {
            let token = token(&member.attempt("a", attempt).await?)?;
            stage.nack(&token, Duration::ZERO).await?;
            attempt += 1;
        }
        drop(member);
        stage = again(stage, stop).await?;
    }
    let mut member = stage.subscribe(&event, options).await?;
    member.attempt("a", attempt).await.map(drop)
}

/// catches: a delay that a restart cuts short, or makes endless.
pub async fn delays_survive(stage: Stage) -> Verdict {
    if !durable(&stage, &[Claim::WorkerPool, Claim::Redelivery, Claim::DelayedRequeue]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["a"]).await?;
    let token = member.lease("a").await?;
    let (since, delay) = (tokio::time::Instant::now(), stage.pace().short * 4);
    stage.nack(&token, delay).await?;
    drop(member);
    let stage = again(stage, Stop::Kill).await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    let delivery = member.attempt("a", 2).await?;
    // Opening again takes its time, and wall clocks have their own: only a delay that was dropped would show.
    ensure!(since.elapsed() >= delay / 2, "a delay of {delay:?} ended after {:?}", since.elapsed());
    delivery.ack().await?;
    Ok(())
}

/// catches: the errors of a dead letter's story that were kept in memory only.
pub async fn the_story_so_far_survives(stage: Stage) -> Verdict {
    if !durable(&stage, &[Claim::WorkerPool, Claim::Redelivery, Claim::DelayedRequeue, Claim::DeadLetters])
        .await?
    {
        return Ok(());
    }
    let event = stage.event().await?;
    let options = ask::pool()?.tries(2);
    let mut member = stage.subscribe(&event, options.clone()).await?;
    stage.publish(&event, ["a"]).await?;
    let fail = |error: &str| Nack { delay: Some(Duration::ZERO), error: Some(error.into()) };
    member.first("a").await?.nack(fail("before")).await?;
    drop(member);
    let stage = again(stage, Stop::Kill).await?;
    let mut member = stage.subscribe(&event, options).await?;
    member.attempt("a", 2).await?.nack(fail("after")).await?;
    let (_, letter) = only(super::dead_letter::letters(&stage, &event, 1).await?)?;
    let told =
        |what: &str| letter.metadata.get(&format!("{}{what}", busgate_core::DEAD_LETTER_META)).cloned();
    ensure_eq!(
        (told("first-error"), told("last-error")),
        (Some("before".into()), Some("after".into())),
        "the story"
    );
    Ok(())
}

/// catches: dead letters that a crash loses, or brings back to life.
pub async fn dead_letters_survive(stage: Stage) -> Verdict {
    if !durable(&stage, &[Claim::WorkerPool, Claim::Redelivery, Claim::DeadLetters, Claim::Replay]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut stage = stage;
    drop(stage.subscribe(&event, ask::pool()?).await?);
    for (round, stop) in BOTH.into_iter().enumerate() {
        let bad = format!("bad{round}");
        stage.publish(&event, [&bad]).await?;
        let mut member = stage.subscribe(&event, ask::pool()?).await?;
        ensure_eq!(member.first(&bad).await?.reject("no").await?, Settled::Rejected, "the reject");
        drop(member);
        stage = again(stage, stop).await?;
        super::dead_letter::letters(&stage, &event, round + 1).await?;
        let mut member = stage.subscribe(&event, ask::pool()?).await?;
        let marker = format!("marker{round}");
        stage.publish(&event, [&marker]).await?;
        member.ack_all([&marker]).await?;
    }
    Ok(())
}

/// catches: a consumer that starts over after a crash of the node.
pub async fn checkpoints_survive(stage: Stage) -> Verdict {
    if !durable(&stage, &[Claim::Resume]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut stage = stage;
    drop(stage.subscribe(&event, ask::consumer("reader")?).await?);
    for (round, stop) in BOTH.into_iter().enumerate() {
        let sent = ids(&format!("r{round}-"), 4);
        stage.publish(&event, &sent).await?;
        let mut reader = stage.subscribe(&event, ask::consumer("reader")?).await?;
        reader.ack_all(sent.iter().take(2)).await?;
        drop(reader);
        stage = again(stage, stop).await?;
        let mut reader = stage.subscribe(&event, ask::consumer("reader")?).await?;
        reader
            .ack_all(sent.iter().skip(2))
            .await
            .map_err(|broken| broken.during(&format!("after {stop:?}")))?;
    }
    Ok(())
}

/// catches: tokens that a restart makes worthless, though nobody has the message since.
pub async fn tokens_settle_after_a_restart(stage: Stage) -> Verdict {
    if !durable(&stage, &[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let mut stage = stage;
    for stop in BOTH {
        let event = stage.event().await?;
        let mut member = stage.subscribe(&event, ask::pool()?).await?;
        stage.publish(&event, ["a"]).await?;
        let token = member.lease("a").await?;
        drop(member);
        stage = again(stage, stop).await?;
        ensure_eq!(stage.settle(&token, Verb::Ack).await?, Settled::Acked, "an ack after {stop:?}");
        ensure_eq!(stage.settle(&token, Verb::Ack).await?, Settled::Stale, "a second ack after {stop:?}");
        let mut member = stage.subscribe(&event, ask::pool()?).await?;
        stage.publish(&event, ["marker"]).await?;
        member.ack_all(["marker"]).await?;
    }
    Ok(())
}

/// catches: epochs that start over, so that a token of before the crash settles what was handed out after it.
pub async fn epochs_do_not_start_over(stage: Stage) -> Verdict {
    if !durable(&stage, &[Claim::WorkerPool, Claim::Redelivery]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let options = ask::pool()?.lease(stage.pace().short * 2);
    let mut member = stage.subscribe(&event, options.clone()).await?;
    stage.publish(&event, ["a"]).await?;
    let old = member.lease("a").await?;
    drop(member);
    let stage = again(stage, Stop::Kill).await?;
    let mut member = stage.subscribe(&event, options).await?;
    let new = member.delivery().await?;
    ensure_eq!(stage.settle(&old, Verb::Ack).await?, Settled::Stale, "an ack of before the crash");
    ensure_eq!(new.ack().await?, Settled::Acked, "the ack of the holder");
    Ok(())
}

/// catches: keys that are forgotten in a restart, so that a later message overtakes.
pub async fn keys_hold_across_a_restart(stage: Stage) -> Verdict {
    let claims = [Claim::WorkerPool, Claim::Redelivery, Claim::DelayedRequeue];
    if !stage.capabilities().ordered_keys || !durable(&stage, &claims).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let options = ask::pool()?.lease(stage.pace().short);
    let mut member = stage.subscribe(&event, options.clone()).await?;
    let batch = ["a1", "a2", "a3"].map(|id| stage.keyed("a", id)).into_iter().collect::<Verdict<Vec<_>>>()?;
    stage.publish_batch(&event, batch).await?;
    let mut stage = stage;
    for (round, stop) in BOTH.into_iter().enumerate() {
        if round == 0 {
            drop(member.delivery().await?);
        } else {
            stage.nack(&token(&member.delivery().await?)?, stage.pace().short).await?;
        }
        drop(member);
        stage = again(stage, stop).await?;
        member = stage.subscribe(&event, options.clone()).await?;
    }
    for id in ["a1", "a2", "a3"] {
        let delivery = member.delivery().await?;
        ensure_eq!(delivery.message.id.as_str(), id, "the next message of the key");
        member.quiet_for(stage.pace().short / 4).await?;
        delivery.ack().await?;
    }
    Ok(())
}
