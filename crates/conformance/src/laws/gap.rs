//! What can't be had any more is told: never silence, never an endless error.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use busgate_core::{Cursor, ErrorKind, EventConfig, EventName, Item, Start};

use crate::{
    Broken, Claim, Stage, Verdict,
    ask::{self, Asking},
    stage::{ids, nth},
};

const KEEP: usize = 8;
/// More than retention leaves, however coarse it is.
pub(super) const MORE: usize = 64;

/// An event that lets go of all but a few messages; `None` where that can't be asked for, which is checked.
pub(super) async fn short_lived(stage: &Stage) -> Verdict<Option<EventName>> {
    let event = stage.name()?;
    let config = EventConfig { retention_messages: Some(KEEP as u64), ..EventConfig::default() };
    match stage.transport().register(&event, &config).await {
        Ok(()) => Ok(Some(event)),
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            stage.transport().register(&event, &EventConfig::default()).await?;
            stage.publish(&event, ids("probe", KEEP)).await?;
            if !stage.harness().trim(stage.transport(), &event, 1).await {
                return Err(Broken::new("retention by count is refused: these laws need `Harness::trim`"));
            }
            Ok(Some(stage.event().await?))
        }
        Err(error) => Err(error.into()),
    }
}

/// Publishes `count` messages `<prefix>0`, … and waits until only a few of all are held.
pub(super) async fn overflow(
    stage: &Stage,
    event: &EventName,
    prefix: &str,
    count: usize,
) -> Verdict<Vec<String>> {
    let sent = ids(prefix, count);
    for chunk in sent.chunks(16) {
        stage.publish(event, chunk).await?;
    }
    let held = let_go(stage, event).await?;
    ensure!(held.len() >= KEEP, "asked to hold {KEEP}, only {} messages are held", held.len());
    ensure!(sent.ends_with(&held), "what is held are not the newest messages: {held:?}");
    Ok(held)
}

/// Waits until only a few messages are held.
async fn let_go(stage: &Stage, event: &EventName) -> Verdict<Vec<String>> {
    if !stage.harness().trim(stage.transport(), event, KEEP).await {
        let few = || async { Ok(stage.held(event).await?.len() <= KEEP * 4) };
        stage.eventually("retention has let go of old messages", few).await?;
    }
    stage.held(event).await
}

/// catches: a resume from too long ago that is silent about what it lost, or that never gets going.
pub async fn a_cursor_passed_by_retention_gives_one(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let Some(event) = short_lived(&stage).await? else { return Ok(()) };
    stage.publish(&event, ["first"]).await?;
    let old = nth(&stage.read(&event, Start::Beginning).await?, 0)?.0.clone();
    let held = overflow(&stage, &event, "m", MORE).await?;
    let mut rest = stage.subscribe(&event, ask::from(Start::After(old.clone()))).await?;
    let gap = rest.gap().await?;
    let missed = MORE - held.len();
    if let Some(told) = gap.missed {
        ensure_eq!(told, missed as u64, "how many were missed");
    }
    ensure!(gap.cursor.as_ref() != Some(&old), "the gap goes on where the lost cursor was");
    rest.ack_all(&held).await?;
    if let Some(cursor) = gap.cursor {
        let after: Vec<_> = stage.read(&event, Start::After(cursor)).await?;
        ensure_eq!(after.len(), held.len(), "messages after the place the gap tells");
    }
    stage.publish(&event, ["marker"]).await?;
    rest.ack_all(["marker"]).await
}

/// catches: pages that skip what retention took as if it had never been.
pub async fn a_page_tells_it(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let Some(event) = short_lived(&stage).await? else { return Ok(()) };
    stage.publish(&event, ["first"]).await?;
    let old = nth(&stage.read(&event, Start::Beginning).await?, 0)?.0.clone();
    let held = overflow(&stage, &event, "m", MORE).await?;
    let page = stage.page(&event, Start::After(old), 4).await?;
    let Some(gap) = page.gap else { return Err(Broken::new("a page after a lost cursor has no gap")) };
    if let Some(told) = gap.missed {
        ensure_eq!(told, (MORE - held.len()) as u64, "how many were missed");
    }
    ensure_eq!(nth(&page.messages, 0)?.1.id.as_str(), nth(&held, 0)?, "the first message of the page");
    let next = stage.page(&event, Start::After(page.next), 4).await?;
    ensure!(next.gap.is_none(), "the page after the gap has one as well: {:?}", next.gap);
    Ok(())
}

/// catches: a gap that is off by one: the cursor just before the oldest message misses nothing.
pub async fn at_the_very_edge_there_is_none(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let Some(event) = short_lived(&stage).await? else { return Ok(()) };
    let mut live = stage.subscribe(&event, ask::live().window(MORE * 2)).await?;
    let sent = ids("m", MORE);
    let mut cursors: Vec<Cursor> = Vec::new();
    for id in &sent {
        stage.publish(&event, [id]).await?;
        cursors.push(live.delivery().await?.cursor);
    }
    let held = let_go(&stage, &event).await?;
    let lost = sent.iter().filter(|id| !held.contains(id)).count();
    ensure!(lost > 1, "of {MORE} messages {lost} are lost");
    let edge = stage.page(&event, Start::After(nth(&cursors, lost - 1)?.clone()), 4).await?;
    ensure!(edge.gap.is_none(), "nothing is missing after the last lost message, but {:?}", edge.gap);
    let beyond = stage.page(&event, Start::After(nth(&cursors, lost - 2)?.clone()), 4).await?;
    let Some(gap) = beyond.gap else {
        return Err(Broken::new("one message is missing, and no gap tells it"));
    };
    ensure!(gap.missed.is_none_or(|missed| missed == 1), "one message is missing, but {gap:?}");
    Ok(())
}

/// catches: a gap at the beginning, where nothing was asked for that is not there.
pub async fn the_beginning_has_none(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let Some(event) = short_lived(&stage).await? else { return Ok(()) };
    let held = overflow(&stage, &event, "m", MORE).await?;
    let mut all = stage.subscribe(&event, ask::from(Start::Beginning)).await?;
    all.ack_all(&held).await?;
    ensure!(
        stage.page(&event, Start::Beginning, 4).await?.gap.is_none(),
        "a page from the beginning has a gap"
    );
    Ok(())
}

/// catches: a cursor of an event's earlier life that is read as a place in its new one.
pub async fn a_cursor_of_an_earlier_life_gives_one(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    stage.publish(&event, ids("old", 3)).await?;
    let old = nth(&stage.read(&event, Start::Beginning).await?, 1)?.0.clone();
    stage.transport().unregister(&event).await?;
    stage.transport().register(&event, &EventConfig::default()).await?;
    stage.publish(&event, ids("new", 3)).await?;
    let mut rest = stage.subscribe(&event, ask::from(Start::After(old))).await?;
    rest.gap().await?;
    rest.ack_all(ids("new", 3)).await
}

/// catches: a consumer or group that loses its place to retention without a word.
pub async fn a_checkpoint_passed_by_retention_gives_one(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let kinds = [(Claim::Resume, ask::consumer("reader")?), (Claim::WorkerPool, ask::pool()?)];
    for (claim, options) in kinds {
        if !stage.claims(&[claim]).await? {
            continue;
        }
        let Some(event) = short_lived(&stage).await? else { return Ok(()) };
        let mut watch = stage.subscribe(&event, options.clone()).await?;
        stage.publish(&event, ["first"]).await?;
        watch.ack_all(["first"]).await?;
        drop(watch);
        stage.left(&event).await?;
        let held = overflow(&stage, &event, "m", MORE).await?;
        let mut watch = stage.subscribe(&event, options).await?;
        let gap = watch.gap().await?;
        if let Some(told) = gap.missed {
            ensure_eq!(told, (MORE - held.len()) as u64, "how many were missed");
        }
        watch.ack_all(&held).await?;
    }
    Ok(())
}

/// catches: a slow subscriber whose messages retention takes without a word.
pub async fn a_slow_reader_is_told_what_it_lost(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? || !stage.capabilities().ordered {
        return Ok(());
    }
    let Some(event) = short_lived(&stage).await? else { return Ok(()) };
    let mut slow = stage.subscribe(&event, ask::live().window(2)).await?;
    overflow(&stage, &event, "m", MORE).await?;
    stage.publish(&event, ["marker"]).await?;
    let (mut next, mut unknown) = (0, false);
    loop {
        match slow.next().await? {
            Some(Ok(Item::Gap(gap))) => match gap.missed {
                Some(missed) => next += usize::try_from(missed).unwrap_or(usize::MAX),
                None => unknown = true,
            },
            Some(Ok(Item::Delivery(delivery))) if delivery.message.id.as_str() == "marker" => break,
            Some(Ok(Item::Delivery(delivery))) => {
                let number = delivery.message.id.as_str().trim_start_matches('m').parse::<usize>();
                let number = number.map_err(|_| Broken::new(format!("{delivery:?} is not of this law")))?;
                ensure!(
                    number == next || (unknown && number > next),
                    "after {next} messages comes number {number}"
                );
                (next, unknown) = (number + 1, false);
            }
            other => return Err(Broken::new(format!("wanted messages and gaps, found {other:?}"))),
        }
    }
    ensure!(next == MORE || unknown, "messages {next} to {MORE} are neither delivered nor told");
    Ok(())
}

/// catches: messages that are held beyond their age, for as long as younger ones come at least.
pub async fn what_is_too_old_is_let_go(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let event = stage.name()?;
    let age = stage.pace().short.max(Duration::from_secs(1));
    let config = EventConfig { retention_age: Some(age), ..EventConfig::default() };
    match stage.transport().register(&event, &config).await {
        Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(()),
        registered => registered?,
    }
    stage.publish(&event, ["old"]).await?;
    let cursor = nth(&stage.read(&event, Start::Beginning).await?, 0)?.0.clone();
    stage.publish(&event, ["lost"]).await?;
    // Another one for each look, from the beginning: the event never rests, as what rests may be let go of as one piece. And on
    // a busy machine the young grow too old as well before anybody looks.
    let looks = AtomicUsize::new(0);
    let held = || async {
        let young = format!("young {}", looks.fetch_add(1, Ordering::Relaxed));
        stage.publish(&event, [&young]).await?;
        let held = stage.held(&event).await?;
        Ok(held.last() == Some(&young) && held.iter().all(|id| id.starts_with("young")))
    };
    stage.eventually("only young messages are held", held).await?;
    let page = stage.page(&event, Start::After(cursor), 10).await?;
    ensure!(page.gap.is_some(), "what grew too old is missing without a word");
    Ok(())
}
