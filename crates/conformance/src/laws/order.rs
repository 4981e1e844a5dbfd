//! Order within one subscription.

use std::{collections::BTreeMap, pin::pin, sync::Arc};

use busgate_core::{Start, Turn};
use futures_util::{StreamExt, stream::FuturesUnordered};

use crate::{
    Claim, Stage, Verdict, Watch,
    ask::{self, Asking},
    stage::ids,
};

async fn in_order(stage: &Stage, watch: &mut Watch, sent: &[String]) -> Verdict {
    let mut found = watch.ack_some(sent.len()).await?;
    if !stage.capabilities().ordered {
        found.sort_by_key(|id| sent.iter().position(|other| other == id));
    }
    let wrong = found.iter().zip(sent).find(|(found, wanted)| found != wanted);
    ensure!(wrong.is_none(), "found where wanted: {wrong:?}");
    Ok(())
}

/// catches: reordering between batches, pages or buffers.
pub async fn a_thousand_messages_stay_in_order(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    let sent = ids("m", stage.pace().many);
    let mut live = stage.subscribe(&event, ask::live().window(64)).await?;
    let publishing = async {
        for (nth, chunk) in sent.chunks(7).enumerate() {
            stage.publish(&event, chunk).await?;
            // Live subscribers have bounded buffers, and are no part of this law.
            if nth % 4 == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    };
    let (published, watched) = tokio::join!(publishing, in_order(&stage, &mut live, &sent));
    let published: Verdict = published;
    published.and(watched)
}

/// catches: a group's only member that gets messages out of order.
pub async fn a_groups_only_member_gets_them_in_order(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let sent = ids("m", stage.pace().many);
    let mut member = stage.subscribe(&event, ask::pool()?.window(16)).await?;
    for chunk in sent.chunks(100) {
        stage.publish(&event, chunk).await?;
    }
    in_order(&stage, &mut member, &sent).await
}

/// catches: a publisher's batches that overtake each other when it does not wait for the answers.
pub async fn batches_in_turn_keep_their_order(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    let sent = ids("m", stage.pace().many);
    let mut live = stage.subscribe(&event, ask::live().window(64)).await?;
    let mut under_way = FuturesUnordered::new();
    let publishing = async {
        for batch in sent.chunks(9) {
            let batch = batch.iter().map(|id| stage.message(id)).collect::<Verdict<Vec<_>>>()?;
            let (turn, mut next) = Turn::begin();
            under_way.push(stage.transport().publish_in_turn(&event, batch, turn));
            let mut mine = pin!(next.is_mine());
            loop {
                tokio::select! {
                    Some(answers) = under_way.next() => answers.into_iter().try_for_each(|answer| answer.map(drop))?,
                    () = &mut mine => break,
                }
            }
        }
        while let Some(answers) = under_way.next().await {
            answers.into_iter().try_for_each(|answer| answer.map(drop))?;
        }
        Ok(())
    };
    let (published, watched) = tokio::join!(publishing, in_order(&stage, &mut live, &sent));
    let published: Verdict = published;
    published.and(watched)
}

/// catches: one publisher's messages that overtake each other when others publish as well.
pub async fn each_publishers_order_is_kept_beside_others(stage: Stage) -> Verdict {
    let event = stage.event().await?;
    let mut live = stage.subscribe(&event, ask::live()).await?;
    let mut calls = Vec::new();
    for publisher in 0..4 {
        let messages = (0..40).map(|nth| stage.message(&format!("{publisher}-{nth}")));
        let messages = messages.collect::<Verdict<Vec<_>>>()?;
        let (transport, event) = (Arc::clone(stage.transport()), event.clone());
        calls.push(async move {
            for message in messages {
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
    let mut next = BTreeMap::new();
    for id in live.ack_some(160).await? {
        let Some((publisher, nth)) = id.split_once('-') else { continue };
        let wanted = next.entry(publisher.to_owned()).or_insert(0);
        ensure!(!stage.capabilities().ordered || nth == wanted.to_string(), "`{id}` where {wanted} was next");
        *wanted += 1;
    }
    ensure_eq!(next.values().sum::<i32>(), 160, "messages of all publishers");
    Ok(())
}

/// catches: subscribers that disagree about the order of the event.
pub async fn history_has_the_order_that_live_had(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut live = stage.subscribe(&event, ask::live()).await?;
    let mut calls = Vec::new();
    for publisher in 0..4 {
        let message = stage.message(&format!("p{publisher}"))?;
        let (transport, event) = (Arc::clone(stage.transport()), event.clone());
        calls.push(async move { transport.publish(&event, vec![message]).await });
    }
    stage.together(calls).await?;
    let mut seen = live.ack_some(4).await?;
    let mut held = stage.held(&event).await?;
    let mut again = stage.subscribe(&event, ask::from(Start::Beginning)).await?.ack_some(4).await?;
    if !stage.capabilities().ordered {
        for ids in [&mut seen, &mut held, &mut again] {
            ids.sort();
        }
    }
    ensure!(seen == held && held == again, "live {seen:?}, read {held:?}, subscribed again {again:?}");
    Ok(())
}

/// catches: a hand-back, as of a drain, that turns the order of what nobody has worked on.
pub async fn what_is_handed_back_keeps_its_order(stage: Stage) -> Verdict {
    if !stage.capabilities().ordered || !stage.claims(&[Claim::WorkerPool, Claim::Redelivery]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut leaves = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ids("m", 6)).await?;
    let mut tokens = Vec::new();
    for id in ids("m", 4) {
        tokens.push(leaves.lease(&id).await?);
    }
    drop(leaves);
    for token in tokens {
        stage.settle(&token, busgate_core::Verb::Release { counted: false }).await?;
    }
    let mut stays = stage.subscribe(&event, ask::pool()?).await?;
    stays.ack_all(ids("m", 6)).await
}
