//! Registering, listing, closing.

use std::{sync::Arc, time::Duration};

use busgate_core::{Effect, Error, ErrorKind, EventConfig, HealthStatus, Holder, Start, Verb};

use crate::{
    Claim, Stage, Verdict,
    ask::{self, deduplicated},
    stage::only,
};

/// catches: a second registration that fails, or that empties the event.
pub async fn registering_again_is_fine(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    let mut live = stage.subscribe(&event, ask::live()).await?;
    stage.transport().register(&event, &EventConfig::default()).await?;
    stage.publish(&event, ["kept"]).await?;
    live.first("kept").await.map(drop)
}

/// catches: a configuration that silently replaces another, and one that is asked for and ignored.
pub async fn another_configuration_exists_already(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Dedup]).await? {
        return Ok(());
    }
    let minute = deduplicated(Duration::from_secs(60));
    let event = stage.event_with(&minute).await?;
    stage.transport().register(&event, &minute).await?;
    stage.transport().register(&event, &EventConfig::default()).await?;
    let other = stage.transport().register(&event, &deduplicated(Duration::from_secs(30))).await;
    ensure_matches!(other.map_err(|error| error.kind()), Err(ErrorKind::Exists), "another configuration");
    let infos = stage.transport().events().await?;
    let info = only(infos.into_iter().filter(|info| info.name == event).collect())?;
    ensure_eq!(info.config.dedup_window, minute.dedup_window, "the configuration after a refused one");
    Ok(())
}

/// catches: an event that springs into being because someone named it.
pub async fn an_unregistered_event_is_not_found(stage: Stage) -> Verdict {
    let (event, transport) = (stage.name()?, stage.transport());
    let subscribed = stage.try_subscribe(&event, ask::live()).await.map(drop);
    let unregistered = transport.unregister(&event).await;
    let lag = transport.lag(&event).await.map(drop);
    for (what, answer) in [("subscribe", subscribed), ("unregister", unregistered), ("lag", lag)] {
        ensure_matches!(answer.map_err(|error| error.kind()), Err(ErrorKind::NotFound), "{what}");
    }
    if stage.claimed(Claim::Replay) {
        let read = stage.try_page(&event, Start::Beginning, 10).await.map(drop);
        ensure_matches!(read.map_err(|error| error.kind()), Err(ErrorKind::NotFound), "read");
    }
    let listed = transport.events().await?.into_iter().any(|info| info.name == event);
    ensure!(!listed, "an event that was never registered is listed");
    Ok(())
}

/// catches: subscriptions that hang, or fail, when their event goes away.
pub async fn unregistering_ends_subscriptions_cleanly(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    let mut live = stage.subscribe(&event, ask::live()).await?;
    let mut member = match stage.claims(&[Claim::WorkerPool]).await? {
        true => Some(stage.subscribe(&event, ask::pool()?).await?),
        false => None,
    };
    stage.transport().unregister(&event).await?;
    live.ends().await?;
    match &mut member {
        Some(member) => member.ends().await,
        None => Ok(()),
    }
}

/// catches: messages, ids or group positions that outlive their event.
pub async fn an_event_registered_anew_starts_empty(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    stage.publish(&event, ["old"]).await?;
    stage.transport().unregister(&event).await?;
    stage.transport().register(&event, &EventConfig::default()).await?;
    let receipt = only(stage.publish(&event, ["old"]).await?)?;
    ensure!(!receipt.duplicate, "the id of an event that was unregistered is remembered");
    if stage.claims(&[Claim::Replay]).await? {
        ensure_eq!(stage.held(&event).await?, ["old"], "what the new event holds");
    }
    Ok(())
}

/// catches: a group of an unregistered event that swallows the first messages of the new one.
pub async fn groups_end_with_their_event(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["a", "b", "c"]).await?;
    member.ack_all(["a", "b", "c"]).await?;
    stage.transport().unregister(&event).await?;
    stage.transport().register(&event, &EventConfig::default()).await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["d", "e"]).await?;
    member.ack_all(["d", "e"]).await
}

/// catches: events that are missing from the list, or listed out of order.
pub async fn events_are_listed_by_name(stage: Stage) -> Verdict {
    let mut ours = Vec::new();
    for _ in 0..12 {
        ours.push(stage.event().await?);
    }
    ours.sort();
    let listed: Vec<_> = stage.transport().events().await?.into_iter().map(|info| info.name).collect();
    ensure!(listed.is_sorted(), "the list is not in the order of the names: {listed:?}");
    let found: Vec<_> = listed.into_iter().filter(|name| ours.contains(name)).collect();
    ensure_eq!(found, ours, "the events of this law");
    Ok(())
}

/// catches: counts and places in the description that are made up.
pub async fn an_event_tells_what_it_holds(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    let receipts = stage.publish(&event, ["a", "b", "c"]).await?;
    let info =
        only(stage.transport().events().await?.into_iter().filter(|info| info.name == event).collect())?;
    if let Some(messages) = info.messages {
        ensure_eq!(messages, 3, "how many messages it says it holds");
    }
    if let Some(bytes) = info.bytes {
        ensure!(bytes >= 3, "three messages of one byte weigh {bytes}");
    }
    if stage.claimed(Claim::Replay) {
        ensure!(info.newest.is_some() && info.oldest.is_some(), "what can be replayed has no ends: {info:?}");
    }
    if let (Some(newest), Some(cursor)) = (info.newest, receipts.last().and_then(|last| last.cursor.clone()))
    {
        ensure_eq!(newest, cursor, "the newest place");
    }
    Ok(())
}

/// catches: subscribers that wait for ever on a closed transport.
pub async fn closing_ends_subscriptions_with_unavailable(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    let mut live = stage.subscribe(&event, ask::live()).await?;
    let mut member = match stage.claims(&[Claim::WorkerPool]).await? {
        true => Some(stage.subscribe(&event, ask::pool()?).await?),
        false => None,
    };
    stage.transport().close().await?;
    live.ends_with(ErrorKind::Unavailable).await?;
    match &mut member {
        Some(member) => member.ends_with(ErrorKind::Unavailable).await,
        None => Ok(()),
    }
}

/// catches: a closed transport that still takes messages, hangs, or answers as if there was nothing.
pub async fn calls_after_close_are_unavailable(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    let (before, transport) = (stage.capabilities(), stage.transport());
    transport.close().await?;
    let mut published = transport.publish(&event, vec![stage.message("late")?]).await;
    ensure_eq!(published.len(), 1, "the number of receipts");
    let published = published.pop().unwrap_or_else(|| Err(Error::internal("no receipt"))).map(drop);
    if let Err(error) = &published {
        ensure_eq!(error.effect(), Effect::None, "the effect of publishing on a closed transport");
    }
    let answers = [
        ("publish", published),
        ("register", transport.register(&event, &EventConfig::default()).await),
        ("unregister", transport.unregister(&event).await),
        ("events", transport.events().await.map(drop)),
        ("subscribe", stage.try_subscribe(&event, ask::live()).await.map(drop)),
        ("lag", transport.lag(&event).await.map(drop)),
    ];
    for (what, answer) in answers {
        ensure_matches!(answer.map_err(|error| error.kind()), Err(ErrorKind::Unavailable), "{what}");
    }
    if stage.claimed(Claim::Replay) {
        let read = stage.try_page(&event, Start::Beginning, 1).await.map(drop);
        ensure_matches!(read.map_err(|error| error.kind()), Err(ErrorKind::Unavailable), "read");
    }
    ensure_eq!(transport.health().await.status, HealthStatus::Unhealthy, "the health of a closed transport");
    ensure_eq!(stage.capabilities(), before, "the capabilities of a closed transport");
    Ok(())
}

/// catches: a lease that is settled on a transport that can't keep the promise.
pub async fn settling_after_close_is_unavailable(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["a"]).await?;
    let token = member.lease("a").await?;
    stage.transport().close().await?;
    let answer = stage.try_settle(&token, Verb::Ack).await;
    ensure_matches!(answer.map_err(|error| error.kind()), Err(ErrorKind::Unavailable), "an ack after close");
    Ok(())
}

/// catches: a second close that fails or hangs.
pub async fn closing_twice_is_fine(stage: Stage) -> Verdict {
    stage.event().await?;
    let transport = Arc::clone(stage.transport());
    let closes = (0..3).map(|_| {
        let transport = Arc::clone(&transport);
        async move { transport.close().await }
    });
    for closed in stage.together(closes).await? {
        closed?;
    }
    Ok(transport.close().await?)
}

/// catches: a publish or subscribe that hangs, panics or lies when the transport closes under it.
pub async fn closing_beside_other_calls_is_sound(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    let batches = (0..20).map(|n| stage.message(&format!("m{n}"))).collect::<Verdict<Vec<_>>>()?;
    let publishing = batches.into_iter().map(|message| {
        let (transport, event) = (Arc::clone(stage.transport()), event.clone());
        async move {
            if message.id.as_str() == "m10" {
                transport.close().await.map(|()| Vec::new())
            } else {
                let subscribed = Arc::clone(&transport).subscribe(&event, ask::live()).await.map(drop);
                let published =
                    transport.publish(&event, vec![message]).await.into_iter().map(|one| one.map(drop));
                Ok(published.chain([subscribed]).collect())
            }
        }
    });
    for answers in stage.together(publishing.collect::<Vec<_>>()).await? {
        for answer in answers? {
            let kind = answer.map_err(|error| error.kind());
            ensure_matches!(kind, Ok(()) | Err(ErrorKind::Unavailable), "a call beside close");
        }
    }
    Ok(())
}

/// catches: a probe that says no when all is well.
pub async fn an_open_transport_is_healthy(stage: Stage) -> Verdict {
    stage.event().await?;
    let health = stage.transport().health().await;
    ensure_eq!(health.status, HealthStatus::Healthy, "the health, which says `{}`", health.message);
    Ok(())
}

/// catches: lag figures that do not follow the messages.
pub async fn lag_counts_what_waits_and_what_is_held(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool, Claim::Redelivery, Claim::DelayedRequeue]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    ensure!(stage.transport().lag(&event).await?.is_empty(), "an event without consumers has lag");
    let options = ask::pool()?;
    let holder = options.mode.holder();
    let mut member = stage.subscribe(&event, crate::ask::Asking::window(options, 2)).await?;
    stage.publish(&event, ["a", "b", "c", "d", "e"]).await?;
    let (nacked, _held) = (member.lease("a").await?, member.lease("b").await?);
    stage.nack(&nacked, Duration::from_secs(600)).await?;
    let _third = member.lease("c").await?;
    let lag = only(stage.transport().lag(&event).await?)?;
    ensure_eq!(Some(lag.holder.clone()), holder, "whose lag it is");
    ensure!(matches!(lag.holder, Holder::Group(_)), "a group's lag is {:?}", lag.holder);
    ensure_eq!((lag.in_flight, lag.delayed, lag.members), (2, 1, 1), "in flight, delayed, members");
    if let Some(waiting) = lag.waiting {
        // Whether the one held back is counted here as well is left open.
        ensure!((2..=3).contains(&waiting), "{waiting} wait, of two and one held back");
    }
    Ok(())
}

/// catches: members that are counted after they left.
pub async fn lag_forgets_members_that_left(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let first = stage.subscribe(&event, ask::pool()?).await?;
    let _second = stage.subscribe(&event, ask::pool()?).await?;
    ensure_eq!(only(stage.transport().lag(&event).await?)?.members, 2, "members");
    drop(first);
    stage
        .eventually("one member is left", || async {
            Ok(stage.transport().lag(&event).await?.iter().all(|lag| lag.members == 1))
        })
        .await
}
