//! What a publisher is promised.

use std::{collections::BTreeSet, sync::Arc};

use busgate_core::{Effect, ErrorKind, Message, MessageId, Start};

use crate::{
    Claim, Stage, Verdict, ask,
    stage::{ids, nth, only},
};

/// catches: a transport that makes ids of its own.
pub async fn ids_are_kept(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    let mut live = stage.subscribe(&event, ask::live()).await?;
    let odd = ["a", "A", "with space", "ünïcode-✓", "semi;colon/slash?query&x=1", "0"];
    let receipts = stage.publish(&event, odd).await?;
    for (receipt, id) in receipts.iter().zip(odd) {
        ensure_eq!(receipt.id.as_str(), id, "the id in the receipt");
        live.first(id).await?;
    }
    Ok(())
}

/// catches: long ids that are cut, and so collide.
pub async fn the_longest_ids_are_kept(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    let mut live = stage.subscribe(&event, ask::live()).await?;
    let long = ["x", "y"].map(|last| format!("{}{last}", "i".repeat(busgate_core::MAX_ID_BYTES - 1)));
    stage.publish(&event, &long).await?;
    for id in &long {
        live.first(id).await?;
    }
    Ok(())
}

/// catches: generated ids that are not taken as they are.
pub async fn generated_ids_are_kept(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    let mut live = stage.subscribe(&event, ask::live()).await?;
    let generated: Vec<_> = (0..50).map(|_| MessageId::generate().to_string()).collect();
    stage.publish(&event, &generated).await?;
    for id in &generated {
        live.first(id).await?;
    }
    Ok(())
}

/// catches: receipts that are out of step with the batch.
pub async fn receipts_are_in_the_order_of_the_batch(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    let sent = ids("m", 100);
    let receipts = stage.publish(&event, &sent).await?;
    let answered: Vec<_> = receipts.iter().map(|receipt| receipt.id.to_string()).collect();
    ensure_eq!(answered, sent, "the ids of the receipts");
    ensure!(!receipts.iter().any(|receipt| receipt.duplicate), "a new message is called a duplicate");
    Ok(())
}

/// catches: a batch that is reordered on its way in.
pub async fn a_batch_keeps_its_order(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    let mut live = stage.subscribe(&event, ask::live()).await?;
    let sent = ids("m", 500);
    for chunk in sent.chunks(125) {
        stage.publish(&event, chunk).await?;
    }
    if !stage.capabilities().ordered {
        ensure_eq!(as_set(&live.ack_some(500).await?), as_set(&sent), "what arrived");
        return Ok(());
    }
    live.ack_all(&sent).await
}

/// catches: an empty batch that is taken for a fault.
pub async fn an_empty_batch_is_answered_with_nothing(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    ensure!(stage.transport().publish(&event, Vec::new()).await.is_empty(), "an empty batch has receipts");
    Ok(())
}

/// catches: a receipt whose place is not that of the message.
pub async fn a_receipt_tells_the_place(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let receipts = stage.publish(&event, ["a", "b", "c"]).await?;
    let Some(cursor) = nth(&receipts, 1)?.cursor.clone() else { return Ok(()) };
    let after = stage.read(&event, Start::After(cursor)).await?;
    let after: Vec<_> = after.iter().map(|(_, message)| message.id.as_str()).collect();
    ensure!(!after.contains(&"b") && after.contains(&"c"), "after the place of `b` comes {after:?}");
    Ok(())
}

/// catches: a batch to an unknown event that answers once for all, or says that it may have been taken.
pub async fn an_unregistered_event_refuses_each_message(stage: Stage) -> Verdict {
    let event = stage.name()?;
    let answers = stage.transport().publish(&event, vec![stage.message("a")?, stage.message("b")?]).await;
    ensure_eq!(answers.len(), 2, "the number of receipts");
    for answer in answers {
        let found = answer.map_err(|error| (error.kind(), error.effect()));
        ensure_matches!(found, Err((ErrorKind::NotFound, Effect::None)), "a message for nobody");
    }
    Ok(())
}

/// catches: messages that leak from one event to another.
pub async fn events_are_apart(stage: Stage) -> Verdict {
    let (left, right) = (stage.event().await?, stage.event().await?);
    let mut on_left = stage.subscribe(&left, ask::live()).await?;
    let mut on_right = stage.subscribe(&right, ask::live()).await?;
    stage.publish(&right, ["r1"]).await?;
    stage.publish(&left, ["l1"]).await?;
    stage.publish(&right, ["r2"]).await?;
    on_left.first("l1").await?;
    on_right.first("r1").await?;
    on_right.first("r2").await?;
    on_left.quiet().await
}

/// catches: events whose names differ by case only, or by what an encoding makes equal, and meet.
pub async fn names_are_taken_to_the_letter(stage: Stage) -> Verdict {
    let base = stage.name()?;
    let names = ["Aa", "aa", "a_a", "a-a", "a.a"];
    let mut watches = Vec::new();
    for name in names {
        let event = busgate_core::EventName::new(format!("{base}.{name}"))?;
        stage.transport().register(&event, &busgate_core::EventConfig::default()).await?;
        let watch = stage.subscribe(&event, ask::live()).await?;
        watches.push((name, event, watch));
    }
    for (name, event, _) in &watches {
        stage.publish(event, [name]).await?;
    }
    for (name, _, watch) in &mut watches {
        watch.first(name).await?;
    }
    for (_, _, watch) in &mut watches {
        watch.quiet_for(stage.pace().quiet / 4).await?;
    }
    Ok(())
}

/// catches: messages lost or doubled when publishers meet.
pub async fn concurrent_publishers_lose_nothing(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    let mut live = stage.subscribe(&event, ask::live()).await?;
    let mut calls = Vec::new();
    for publisher in 0..8 {
        let batches = (0..10).map(|nth| stage.message(&format!("p{publisher}-{nth}")));
        let batches = batches.collect::<Verdict<Vec<Message>>>()?;
        let (transport, event) = (Arc::clone(stage.transport()), event.clone());
        calls.push(async move {
            for message in batches {
                for answer in transport.publish(&event, vec![message]).await {
                    answer?;
                }
            }
            Ok(())
        });
    }
    for published in stage.together(calls).await? {
        let published: busgate_core::Result<()> = published;
        published?;
    }
    let found = live.ack_some(80).await?;
    let distinct: BTreeSet<_> = found.iter().collect();
    ensure_eq!(distinct.len(), 80, "distinct messages among 80");
    live.quiet().await
}

/// catches: a publish that answers before the message can be had.
pub async fn an_accepted_message_is_there_at_once(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    for number in 0..20 {
        let id = format!("m{number}");
        only(stage.publish(&event, [&id]).await?)?;
        ensure_eq!(stage.held(&event).await?.last(), Some(&id), "the last message held");
    }
    Ok(())
}

fn as_set(ids: &[String]) -> BTreeSet<&str> {
    ids.iter().map(String::as_str).collect()
}
