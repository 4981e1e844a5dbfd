//! Every call may be dropped half-way.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use busgate_core::{Settlement, Start, Verb};

use crate::{
    Claim, Stage, Verdict,
    ask::{self, Asking},
    stage::ids,
    watch::token,
};

/// Polls it `times` times at most, and drops it. Answers whether it was done by then.
async fn abandon<F: Future>(call: F, times: usize) -> bool {
    let mut call = pin!(call);
    for _ in 0..times {
        let done = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_ready())).await;
        if done {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

/// catches: a message that is taken out of the queue by a wait nobody is in any more.
pub async fn a_dropped_wait_loses_nothing(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    let mut live = stage.subscribe(&event, ask::live()).await?;
    let mut found = Vec::new();
    for id in ids("m", 30) {
        for _ in 0..3 {
            if let Some(delivery) = live.delivery_within(Duration::ZERO).await? {
                found.push(delivery.message.id.to_string());
            }
        }
        stage.publish(&event, [&id]).await?;
        if let Some(delivery) = live.delivery_within(Duration::from_millis(1)).await? {
            found.push(delivery.message.id.to_string());
        }
    }
    while found.len() < 30 {
        found.push(live.delivery().await?.message.id.to_string());
    }
    if !stage.capabilities().ordered {
        found.sort_by_key(|id| id.trim_start_matches('m').parse::<usize>().unwrap_or_default());
    }
    ensure_eq!(found, ids("m", 30), "what came through many dropped waits");
    live.quiet().await
}

/// catches: a lease that begins in a wait nobody is in any more, and counts an attempt nobody made.
pub async fn a_dropped_wait_leases_nothing(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool, Claim::Redelivery]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?.lease(stage.pace().short)).await?;
    for id in ids("m", 20) {
        for _ in 0..3 {
            ensure!(member.delivery_within(Duration::ZERO).await?.is_none(), "a delivery before any message");
        }
        let (delivery, published) =
            tokio::join!(member.delivery_within(Duration::from_micros(1)), stage.publish(&event, [&id]));
        published?;
        let delivery = match delivery? {
            Some(delivery) => delivery,
            None => member.delivery().await?,
        };
        ensure_eq!(
            (delivery.message.id.as_str(), delivery.attempt),
            (&*id, 1),
            "the delivery after dropped waits"
        );
        delivery.ack().await?;
    }
    Ok(())
}

/// catches: read-ahead that goes down with the subscription, waits for a lease, or counts as an attempt.
pub async fn read_ahead_returns_at_once_uncounted(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    for round in 0..5 {
        let sent = ids(&format!("m{round}-"), 10);
        let mut leaves = stage.subscribe(&event, ask::pool()?.window(10)).await?;
        stage.publish(&event, &sent).await?;
        leaves.ack_all(sent.iter().take(2)).await?;
        stage.pass(Duration::from_millis(5)).await;
        drop(leaves);
        let mut stays = stage.subscribe(&event, ask::pool()?.window(10)).await?;
        stays.ack_all(sent.iter().skip(2)).await?;
    }
    Ok(())
}

/// catches: a publish dropped half-way that leaves half a message, a lock held, or an id taken for nothing.
pub async fn a_dropped_publish_leaves_all_sound(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    let mut live = stage.subscribe(&event, ask::live()).await?;
    let mut wanted = Vec::new();
    for round in 0..12 {
        let id = format!("m{round}");
        let batch = vec![stage.message(&id)?];
        abandon(stage.transport().publish(&event, batch), round % 4).await;
        // Under the same id: with deduplication it is there once, whatever became of the first.
        stage.publish(&event, [&id]).await?;
        wanted.push(id);
    }
    stage.publish(&event, ["marker"]).await?;
    let mut found = Vec::new();
    loop {
        let id = live.delivery().await?.message.id.to_string();
        if id == "marker" {
            break;
        }
        found.push(id);
    }
    if !stage.claimed(Claim::Dedup) {
        found.dedup();
    }
    ensure_eq!(found, wanted, "what came of publishes dropped and repeated");
    Ok(())
}

/// catches: a settlement dropped half-way that loses the message, or holds its key or place for ever.
pub async fn a_dropped_settlement_leaves_all_sound(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool, Claim::Redelivery]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let options = ask::pool()?.lease(stage.pace().short).window(1);
    let mut member = stage.subscribe(&event, options).await?;
    for round in 0..8 {
        let id = format!("m{round}");
        stage.publish(&event, [&id]).await?;
        let token = token(&member.first(&id).await?)?;
        let batch = vec![Settlement { token: token.clone(), verb: Verb::Ack }];
        abandon(stage.transport().settle(batch), round % 4).await;
        // Done or not: asking once more ends it, and says so.
        stage.settle(&token, Verb::Ack).await?;
    }
    stage.publish(&event, ["marker"]).await?;
    loop {
        let delivery = member.delivery().await?;
        let last = delivery.message.id.as_str() == "marker";
        delivery.ack().await?;
        if last {
            return Ok(());
        }
    }
}

/// catches: a member that never came to be, and takes messages all the same.
pub async fn a_dropped_subscribe_leaves_no_member(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    for round in 0..10 {
        abandon(Arc::clone(stage.transport()).subscribe(&event, ask::pool()?), round % 5).await;
    }
    stage.publish(&event, ids("m", 40)).await?;
    member.ack_all(ids("m", 40)).await
}

/// catches: a registration dropped half-way that can be neither used nor repeated.
pub async fn a_dropped_registration_can_be_repeated(stage: Stage) -> Verdict {
    for polls in 0..6 {
        let (event, config) = (stage.name()?, busgate_core::EventConfig::default());
        abandon(stage.transport().register(&event, &config), polls).await;
        stage.transport().register(&event, &config).await?;
        let mut live = stage.subscribe(&event, ask::live()).await?;
        stage.publish(&event, ["a"]).await?;
        live.first("a").await?;
        abandon(stage.transport().unregister(&event), polls).await;
        // Across a network what was dropped may still come into effect, once and soon.
        let again = || async {
            stage.transport().register(&event, &config).await?;
            let message = stage.message("b")?;
            Ok(stage.transport().publish(&event, vec![message]).await.iter().all(Result::is_ok))
        };
        stage.eventually("the event is there again", again).await?;
    }
    Ok(())
}

/// catches: a subscription glanced at and dropped that keeps a reader, or a place, behind it.
pub async fn subscriptions_dropped_at_once_leave_nothing(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    for _ in 0..50 {
        let mut glanced = stage.subscribe(&event, ask::live()).await?;
        ensure!(glanced.glance().await.is_none(), "a delivery before any message");
    }
    let mut live = stage.subscribe(&event, ask::live()).await?;
    stage.publish(&event, ["a"]).await?;
    live.first("a").await?;
    if stage.claims(&[Claim::Replay]).await? {
        drop(stage.subscribe(&event, ask::from(Start::Beginning)).await?);
        ensure_eq!(stage.held(&event).await?, ["a"], "what is held");
    }
    Ok(())
}
