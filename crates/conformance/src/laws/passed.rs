//! Where a message of a live tail stands for a reader.

use busgate_core::{Cursor, ErrorKind, Passed, Start};

use crate::{Claim, Stage, Verdict, ask, stage::ids};

/// catches: a comparison of cursors as text, or one that is off by one.
pub async fn it_agrees_with_the_order_of_reading(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    // Past ten and a hundred, where numbers compared as text go wrong.
    stage.publish(&event, ids("m", 120)).await?;
    let held = stage.read(&event, Start::Beginning).await?;
    for (at, (reader, _)) in held.iter().enumerate().step_by(7) {
        for (of, (message, _)) in held.iter().enumerate() {
            let passed = stage.transport().passed(reader, message)?;
            let had = passed == Passed::Had;
            ensure!(had == (of <= at), "message {of} for a reader at {at} is {passed:?}");
        }
    }
    Ok(())
}

/// catches: places of an event's empty beginning, or of its end, that compare wrongly.
pub async fn the_ends_have_all_or_nothing(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let start = stage.page(&event, Start::Latest, 1).await?.next;
    let mut live = stage.subscribe(&event, ask::live()).await?;
    stage.publish(&event, ids("m", 30)).await?;
    let end = stage.page(&event, Start::Latest, 1).await?.next;
    for _ in 0..30 {
        let cursor = live.delivery().await?.cursor;
        ensure!(
            stage.transport().passed(&start, &cursor)? != Passed::Had,
            "a reader at the start had {cursor}"
        );
        ensure_eq!(stage.transport().passed(&end, &cursor)?, Passed::Had, "{cursor} for a reader at the end");
    }
    Ok(())
}

/// catches: `NewFromHere` said while later messages of the tail were had already.
pub async fn new_from_here_holds_for_the_rest_of_the_tail(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut live = stage.subscribe(&event, ask::live()).await?;
    stage.publish(&event, ids("m", 40)).await?;
    let mut tail = Vec::new();
    for _ in 0..40 {
        tail.push(live.delivery().await?.cursor);
    }
    for (reader, _) in stage.read(&event, Start::Beginning).await?.iter().step_by(5) {
        let mut from_here = false;
        for message in &tail {
            let passed = stage.transport().passed(reader, message)?;
            ensure!(
                !(from_here && passed == Passed::Had),
                "{message} was had by {reader}, after `NewFromHere`"
            );
            from_here |= passed == Passed::NewFromHere;
        }
    }
    Ok(())
}

/// catches: garbage compared as if it was a place.
pub async fn a_foreign_cursor_is_invalid(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let good = stage.page(&event, Start::Latest, 1).await?.next;
    let foreign = Cursor::new("not~one.of:ours")?;
    for (reader, message) in [(&good, &foreign), (&foreign, &good)] {
        let kind = stage.transport().passed(reader, message).map_err(|error| error.kind());
        ensure_matches!(kind, Err(ErrorKind::Invalid), "passed with a foreign cursor");
    }
    Ok(())
}
