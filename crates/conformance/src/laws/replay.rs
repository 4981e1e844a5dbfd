//! Starting a subscription in the past.

use std::{sync::Arc, time::Duration};

use busgate_core::{Cursor, ErrorKind, Start, Timestamp};

use crate::{
    Claim, Stage, Verdict,
    ask::{self, Asking},
    stage::{ids, nth, only},
};

/// catches: history that starts late, or that live messages overtake.
pub async fn the_beginning_is_the_oldest_held(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    stage.publish(&event, ["a", "b"]).await?;
    let mut all = stage.subscribe(&event, ask::from(Start::Beginning)).await?;
    stage.publish(&event, ["c"]).await?;
    all.ack_all(["a", "b", "c"]).await?;
    all.quiet().await
}

/// catches: a cursor that is read as "from" where it means "after".
pub async fn a_cursor_is_resumed_strictly_after(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    stage.publish(&event, ["a", "b", "c"]).await?;
    let held = stage.read(&event, Start::Beginning).await?;
    for (skip, (cursor, _)) in held.iter().enumerate() {
        let mut rest = stage.subscribe(&event, ask::from(Start::After(cursor.clone()))).await?;
        let wanted: Vec<_> = ["a", "b", "c"].into_iter().skip(skip + 1).collect();
        rest.ack_all(wanted).await?;
        rest.quiet_for(stage.pace().quiet / 3).await?;
    }
    Ok(())
}

/// catches: a resume at the very end that replays, fails, or misses the next message.
pub async fn after_the_last_message_the_next_one_comes(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    stage.publish(&event, ["a", "b"]).await?;
    let (last, _) = nth(&stage.read(&event, Start::Beginning).await?, 1)?.clone();
    let mut rest = stage.subscribe(&event, ask::from(Start::After(last))).await?;
    stage.publish(&event, ["c"]).await?;
    rest.first("c").await.map(drop)
}

/// catches: cursors on live deliveries that can't be resumed from.
pub async fn the_cursor_of_a_delivery_is_resumed_from(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut live = stage.subscribe(&event, ask::live()).await?;
    stage.publish(&event, ["a", "b", "c"]).await?;
    live.first("a").await?;
    let seen = live.first("b").await?.cursor;
    drop(live);
    stage.publish(&event, ["d"]).await?;
    let mut rest = stage.subscribe(&event, ask::from(Start::After(seen))).await?;
    rest.ack_all(["c", "d"]).await
}

/// catches: a time that is taken as the time of arrival of something else, or with `after` for `at`.
pub async fn a_time_starts_at_the_first_message_of_it(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay, Claim::ReplayFromTime]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    for id in ["a", "b", "c"] {
        stage.publish(&event, [id]).await?;
        stage.pass(stage.pace().short / 10).await;
    }
    let held = stage.read(&event, Start::Beginning).await?;
    let second = nth(&held, 1)?.1.timestamp;
    let mut at = stage.subscribe(&event, ask::from(Start::At(second))).await?;
    at.ack_all(["b", "c"]).await?;
    let after = Start::At(second.plus(Duration::from_millis(2)));
    let mut after = stage.subscribe(&event, ask::from(after)).await?;
    after.ack_all(["c"]).await?;
    let page = stage.page(&event, Start::At(second), 10).await?;
    ensure_eq!(page.messages.len(), 2, "messages of a page from that time");
    Ok(())
}

/// catches: a time before everything that starts at the end, and one after everything that replays.
pub async fn a_time_out_of_range_is_the_nearest_end(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay, Claim::ReplayFromTime]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    stage.publish(&event, ["a", "b"]).await?;
    let mut all = stage.subscribe(&event, ask::from(Start::At(Timestamp::from_millis(1)))).await?;
    all.ack_all(["a", "b"]).await?;
    let held = stage.read(&event, Start::Beginning).await?;
    let later = nth(&held, 1)?.1.timestamp.plus(Duration::from_secs(3600));
    ensure_eq!(stage.read(&event, Start::At(later)).await?.len(), 0, "messages of an hour from now");
    Ok(())
}

/// catches: text that is no cursor, taken for the beginning or the end.
pub async fn a_foreign_cursor_is_invalid(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    stage.publish(&event, ["a"]).await?;
    let long = "9".repeat(busgate_core::MAX_CURSOR_BYTES);
    for text in ["not~one.of:ours", "-1", "~", "0x10", &long] {
        let cursor = Cursor::new(text)?;
        let read = stage.try_page(&event, Start::After(cursor.clone()), 1).await.map(drop);
        let subscribed = stage.try_subscribe(&event, ask::from(Start::After(cursor))).await.map(drop);
        for (what, answer) in [("read", read), ("subscribe", subscribed)] {
            let kind = answer.map_err(|error| error.kind());
            ensure_matches!(kind, Err(ErrorKind::Invalid), "{what} after `{text:.20}`");
        }
    }
    Ok(())
}

/// catches: the switch from history to live, with a hole or a doubled message in it.
pub async fn history_goes_over_into_live_without_a_hole(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let count = stage.pace().many;
    let sent = ids("m", count);
    let messages = sent.iter().map(|id| stage.message(id)).collect::<Verdict<Vec<_>>>()?;
    let (transport, to) = (Arc::clone(stage.transport()), event.clone());
    let publishing = stage.together([async move {
        for message in messages {
            for answer in transport.publish(&to, vec![message]).await {
                answer?;
            }
            tokio::task::yield_now().await;
        }
        Ok::<_, busgate_core::Error>(())
    }]);
    let watching = async {
        let mut found = Vec::new();
        for joined in 0..4 {
            let mut watch = stage.subscribe(&event, ask::from(Start::Beginning)).await?;
            // Each joins a little later, while messages pour in.
            let mut got = watch.ack_some((joined + 1) * count / 8).await?;
            found.push((watch, std::mem::take(&mut got)));
        }
        for (watch, got) in &mut found {
            got.extend(watch.ack_some(count - got.len()).await?);
        }
        Ok::<_, crate::Broken>(found)
    };
    let (published, found) = tokio::join!(publishing, watching);
    only(published?)??;
    for (_, mut got) in found? {
        if !stage.capabilities().ordered {
            got.sort_by_key(|id| id.trim_start_matches('m').parse::<usize>().unwrap_or_default());
        }
        ensure!(
            got == sent,
            "a subscriber has a hole, a double or disorder at {:?}",
            first_difference(&got, &sent)
        );
    }
    Ok(())
}

fn first_difference<'a>(found: &'a [String], wanted: &'a [String]) -> Option<(&'a String, &'a String)> {
    found.iter().zip(wanted).find(|(found, wanted)| found != wanted)
}

/// catches: a resumed subscription that depends on the one before it.
pub async fn a_resumed_subscription_has_no_hole(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? || !stage.capabilities().ordered {
        return Ok(());
    }
    let event = stage.event().await?;
    let sent = ids("m", 60);
    stage.publish(&event, sent.iter().take(20)).await?;
    let (mut found, mut start, mut published) = (Vec::new(), Start::Beginning, 20);
    while found.len() < sent.len() {
        let mut watch = stage.subscribe(&event, ask::from(start.clone()).window(5)).await?;
        for _ in 0..3 {
            let delivery = watch.delivery().await?;
            start = Start::After(delivery.cursor.clone());
            found.push(delivery.message.id.to_string());
        }
        if let Some(more) = sent.get(published..(published + 5).min(sent.len())) {
            stage.publish(&event, more).await?;
            published += more.len();
        }
    }
    ensure_eq!(found, sent, "what was read over many resumed subscriptions");
    Ok(())
}
