//! Every subscriber gets every message.

use busgate_core::{ErrorKind, Nack, Settled};

use crate::{Claim, Stage, Verdict, ask, stage::ids};

/// catches: subscribers that share messages where each should get all.
pub async fn every_subscriber_gets_every_message(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    let mut watches = Vec::new();
    for _ in 0..5 {
        watches.push(stage.subscribe(&event, ask::live()).await?);
    }
    let sent = ids("m", 20);
    stage.publish(&event, &sent).await?;
    for watch in &mut watches {
        let mut found = watch.ack_some(20).await?;
        found.sort_by_key(|id| sent.iter().position(|other| other == id));
        ensure_eq!(found, sent, "what a subscriber got");
    }
    Ok(())
}

/// catches: a message that comes twice to the same subscriber.
pub async fn each_message_comes_once(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    let mut live = stage.subscribe(&event, ask::live()).await?;
    stage.publish(&event, ids("m", 10)).await?;
    live.ack_all(ids("m", 10)).await?;
    live.quiet().await
}

/// catches: a live subscription that shows what was before it.
pub async fn a_late_joiner_gets_what_comes(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    let mut early = stage.subscribe(&event, ask::live()).await?;
    stage.publish(&event, ["before"]).await?;
    early.first("before").await?;
    let mut late = stage.subscribe(&event, ask::live()).await?;
    stage.publish(&event, ["after"]).await?;
    early.first("after").await?;
    late.first("after").await.map(drop)
}

/// catches: a subscribe that answers before it listens.
pub async fn a_subscription_listens_when_it_is_answered(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    for round in 0..20 {
        let id = format!("m{round}");
        let mut live = stage.subscribe(&event, ask::live()).await?;
        stage.publish(&event, [&id]).await?;
        live.first(&id).await?;
    }
    Ok(())
}

/// catches: leases where nobody keeps them.
pub async fn unnamed_deliveries_have_no_lease(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    let mut live = stage.subscribe(&event, ask::live()).await?;
    stage.publish(&event, ["a", "b", "c"]).await?;
    let delivery = live.first("a").await?;
    ensure!(delivery.token().is_none(), "an unnamed delivery has a lease: {:?}", delivery.token());
    ensure_eq!(delivery.event, event, "the event of the delivery");
    ensure_eq!(delivery.ack().await?, Settled::Acked, "an ack without a lease");
    let nacked = live.first("b").await?.nack(Nack::default()).await;
    ensure_matches!(
        nacked.map_err(|error| error.kind()),
        Err(ErrorKind::Unsupported),
        "a nack without a lease"
    );
    let rejected = live.first("c").await?.reject("no").await;
    ensure_matches!(
        rejected.map_err(|error| error.kind()),
        Err(ErrorKind::Unsupported),
        "a reject without a lease"
    );
    Ok(())
}

/// catches: one subscriber's leaving that ends, or starves, the others.
pub async fn a_subscriber_that_leaves_disturbs_nobody(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    let mut stays = stage.subscribe(&event, ask::live()).await?;
    let leaves = stage.subscribe(&event, ask::live()).await?;
    stage.publish(&event, ["a"]).await?;
    drop(leaves);
    stage.publish(&event, ["b"]).await?;
    stays.first("a").await?;
    stays.first("b").await.map(drop)
}

/// catches: a group that takes messages away from broadcast subscribers, or the other way round.
pub async fn groups_and_subscribers_are_apart(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut live = stage.subscribe(&event, ask::live()).await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["a", "b"]).await?;
    member.ack_all(["a", "b"]).await?;
    live.first("a").await?;
    live.first("b").await.map(drop)
}

/// catches: subscribers beyond some small number that get nothing.
pub async fn a_hundred_subscribers_all_get_it(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    let mut watches = Vec::new();
    for _ in 0..100 {
        watches.push(stage.subscribe(&event, ask::live()).await?);
    }
    stage.publish(&event, ["a"]).await?;
    for watch in &mut watches {
        watch.first("a").await?;
    }
    Ok(())
}
