//! How long a lease runs, and what happens at its end.

use std::time::Duration;

use busgate_core::{Settled, Verb};
use tokio::time::Instant;

use crate::{
    Claim, Stage, Verdict,
    ask::{self, Asking},
    stage::ids,
};

const LEASES: [Claim; 2] = [Claim::WorkerPool, Claim::Redelivery];

/// catches: an expiry that is early, or that a coarse timer makes late.
pub async fn an_unsettled_message_comes_back_at_its_end(stage: Stage) -> Verdict {
    if !stage.claims(&LEASES).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let lease = stage.pace().short;
    // A backoff is for failures that were told: a lease that ran out has waited long enough.
    let options = ask::pool()?.lease(lease).backoff(Duration::from_secs(600));
    let mut member = stage.subscribe(&event, options).await?;
    stage.publish(&event, ["a"]).await?;
    let mut since = Instant::now();
    let mut held = vec![member.first("a").await?];
    for attempt in 2..5 {
        held.push(member.attempt_after("a", attempt, since, lease).await?);
        since = Instant::now();
    }
    Ok(())
}

/// catches: expiry that works for one message and not for many.
pub async fn each_lease_ends_at_its_own_time(stage: Stage) -> Verdict {
    if !stage.claims(&LEASES).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let lease = stage.pace().short;
    let mut member = stage.subscribe(&event, ask::pool()?.lease(lease)).await?;
    let mut taken = Vec::new();
    for id in ["a", "b", "c"] {
        // Whatever the machine does meanwhile, the lease begins no earlier.
        let since = Instant::now();
        stage.publish(&event, [id]).await?;
        member.first(id).await?;
        taken.push((id, since));
        stage.pass(lease / 5).await;
    }
    for (id, since) in taken {
        member.attempt_after(id, 2, since, lease).await?.ack().await?;
    }
    Ok(())
}

/// catches: the lease clock that runs while messages wait to be taken.
pub async fn it_starts_when_the_delivery_is_yielded(stage: Stage) -> Verdict {
    if !stage.claims(&LEASES).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let lease = stage.pace().short;
    let mut member = stage.subscribe(&event, ask::pool()?.lease(lease).window(6)).await?;
    stage.publish(&event, ids("m", 6)).await?;
    member.ack_all(["m0"]).await?;
    // What was read ahead by now waits for longer than a lease.
    stage.pass(lease * 2).await;
    let mut held = Vec::new();
    for id in ids("m", 6).iter().skip(1) {
        held.push(member.first(id).await?);
    }
    member.quiet_for(lease * 3 / 5).await?;
    for delivery in held {
        ensure_eq!(delivery.ack().await?, Settled::Acked, "an ack in time");
    }
    Ok(())
}

/// catches: an unsettled delivery that is lost when it is dropped, or that a drop settles.
pub async fn a_dropped_delivery_comes_back(stage: Stage) -> Verdict {
    if !stage.claims(&LEASES).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let lease = stage.pace().short;
    let mut member = stage.subscribe(&event, ask::pool()?.lease(lease)).await?;
    stage.publish(&event, ["a"]).await?;
    let since = Instant::now();
    drop(member.first("a").await?);
    member.attempt_after("a", 2, since, lease).await.map(drop)
}

/// catches: an extension that is answered and ignored.
pub async fn an_extension_keeps_the_message(stage: Stage) -> Verdict {
    if !stage.claims(&LEASES).await? || !stage.claims(&[Claim::Extend]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let lease = stage.pace().short;
    let mut member = stage.subscribe(&event, ask::pool()?.lease(lease)).await?;
    stage.publish(&event, ["a"]).await?;
    let token = member.lease("a").await?;
    for _ in 0..5 {
        member.quiet_for(lease / 2).await?;
        ensure_eq!(stage.settle(&token, Verb::Extend(lease)).await?, Settled::Extended, "the extension");
    }
    ensure_eq!(stage.settle(&token, Verb::Ack).await?, Settled::Acked, "the ack of an extended lease");
    member.quiet_for(lease * 2).await
}

/// catches: an extension that adds to the old end, or that the old end cuts short.
pub async fn an_extension_runs_from_now(stage: Stage) -> Verdict {
    if !stage.claims(&LEASES).await? || !stage.claims(&[Claim::Extend]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let lease = stage.pace().short;
    let mut member = stage.subscribe(&event, ask::pool()?.lease(lease)).await?;
    stage.publish(&event, ["a"]).await?;
    let token = member.lease("a").await?;
    stage.pass(lease / 2).await;
    let since = Instant::now();
    ensure_eq!(stage.settle(&token, Verb::Extend(lease * 2)).await?, Settled::Extended, "the extension");
    member.attempt_after("a", 2, since, lease * 2).await.map(drop)
}

/// catches: an extension that counts as a delivery or makes a new epoch.
pub async fn an_extension_leaves_the_token_and_the_attempt(stage: Stage) -> Verdict {
    if !stage.claims(&LEASES).await? || !stage.claims(&[Claim::Extend, Claim::DelayedRequeue]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["a"]).await?;
    let first = member.lease("a").await?;
    for _ in 0..3 {
        stage.settle(&first, Verb::Extend(Duration::from_secs(60))).await?;
    }
    stage.nack(&first, Duration::ZERO).await?;
    member.attempt("a", 2).await.map(drop)
}

/// catches: an ack that is thrown away though nobody else has the message.
pub async fn an_ack_after_the_end_counts_while_nobody_holds_it(stage: Stage) -> Verdict {
    if !stage.claims(&LEASES).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let lease = stage.pace().short / 2;
    let mut member = stage.subscribe(&event, ask::pool()?.lease(lease)).await?;
    stage.publish(&event, ["a"]).await?;
    let token = member.lease("a").await?;
    drop(member);
    stage.pass(lease + stage.pace().slack).await;
    ensure_eq!(stage.settle(&token, Verb::Ack).await?, Settled::Acked, "an ack after the lease ran out");
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["marker"]).await?;
    member.ack_all(["marker"]).await
}

/// catches: leases that end with the subscription, so that a reconnect redelivers what is being worked on.
pub async fn it_outlives_its_subscription(stage: Stage) -> Verdict {
    if !stage.claims(&LEASES).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let lease = stage.pace().short * 2;
    let options = ask::pool()?.lease(lease);
    let mut member = stage.subscribe(&event, options.clone()).await?;
    stage.publish(&event, ["a"]).await?;
    let _held = member.first("a").await?;
    let since = Instant::now();
    drop(member);
    let mut member = stage.subscribe(&event, options).await?;
    member.attempt_after("a", 2, since, lease).await.map(drop)
}

/// catches: expiry that needs a member's own polling, so that a lost member keeps its messages.
pub async fn another_member_gets_what_ran_out(stage: Stage) -> Verdict {
    if !stage.claims(&LEASES).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let lease = stage.pace().short;
    let mut silent = stage.subscribe(&event, ask::pool()?.lease(lease).window(1)).await?;
    stage.publish(&event, ["a"]).await?;
    let since = Instant::now();
    let _held = silent.first("a").await?;
    let mut other = stage.subscribe(&event, ask::pool()?.lease(lease)).await?;
    other.attempt_after("a", 2, since, lease).await?.ack().await?;
    Ok(())
}

/// catches: one lease length for the whole group where each subscription asks for its own.
pub async fn each_member_has_its_own_length(stage: Stage) -> Verdict {
    if !stage.claims(&LEASES).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let (short, long) = (stage.pace().short, stage.pace().short * 3);
    let mut hasty = stage.subscribe(&event, ask::pool()?.lease(short).window(1)).await?;
    stage.publish(&event, ["a"]).await?;
    let (first, _held) = (Instant::now(), hasty.first("a").await?);
    let mut patient = stage.subscribe(&event, ask::pool()?.lease(long).window(1)).await?;
    stage.publish(&event, ["b"]).await?;
    let (second, _held) = (Instant::now(), patient.first("b").await?);
    hasty.attempt_after("a", 2, first, short).await?.ack().await?;
    drop(patient);
    hasty.attempt_after("b", 2, second, long).await?.ack().await?;
    Ok(())
}
