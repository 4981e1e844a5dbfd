//! Reading what is held, page by page.

use busgate_core::{Cursor, EventName, ReadRequest, Start};

use crate::{
    Broken, Claim, Stage, Verdict,
    ask::{self},
    stage::{ids, nth},
};

const READING: [Claim; 1] = [Claim::Replay];

fn names(page: &busgate_core::Page) -> Vec<String> {
    page.messages.iter().map(|(_, message)| message.id.to_string()).collect()
}

/// catches: pages that overlap, leave something out, or never end.
pub async fn pages_lead_on_to_the_end(stage: Stage) -> Verdict {
    if !stage.claims(&READING).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let sent = ids("m", 25);
    stage.publish(&event, &sent).await?;
    let (mut all, mut start) = (Vec::new(), Start::Beginning);
    loop {
        let page = stage.page(&event, start, 10).await?;
        ensure!(page.messages.len() <= 10, "a page of ten has {}", page.messages.len());
        ensure!(!page.messages.is_empty() || page.end, "an empty page is not the end");
        ensure!(page.gap.is_none(), "a gap where nothing is missing: {:?}", page.gap);
        all.extend(names(&page));
        if page.end {
            break;
        }
        ensure!(all.len() < 26, "the pages go on after {} of 25 messages", all.len());
        start = Start::After(page.next);
    }
    ensure_eq!(all, sent, "all pages together");
    Ok(())
}

/// catches: a page that says it is the end, and is not, or the other way round.
pub async fn the_end_is_told_when_it_is_reached(stage: Stage) -> Verdict {
    if !stage.claims(&READING).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    stage.publish(&event, ["a", "b", "c"]).await?;
    ensure!(!stage.page(&event, Start::Beginning, 2).await?.end, "two of three are the end");
    ensure!(stage.page(&event, Start::Beginning, 10).await?.end, "all three are not the end");
    let exact = stage.page(&event, Start::Beginning, 3).await?;
    let rest = stage.page(&event, Start::After(exact.next), 3).await?;
    ensure!(rest.messages.is_empty() && rest.end, "after the end comes {rest:?}");
    Ok(())
}

/// catches: one large message that no page ever has room for, and byte limits that are ignored.
pub async fn the_byte_limit_leaves_room_for_one(stage: Stage) -> Verdict {
    if !stage.claims(&READING).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    for id in ["a", "b", "c"] {
        let mut message = stage.message(id)?;
        message.payload = vec![7; 1000].into();
        stage.publish_one(&event, message).await?;
    }
    let request = |max_bytes| ReadRequest { start: Start::Beginning, limit: 10, max_bytes };
    let one = stage.transport().read(&event, request(1)).await?;
    ensure_eq!(names(&one), ["a"], "a page of one byte");
    ensure!(!one.end, "the first of three is the end");
    let two = stage.transport().read(&event, request(2600)).await?;
    ensure!(
        !two.messages.is_empty() && two.messages.len() < 3,
        "2,600 bytes took {} thousand",
        two.messages.len()
    );
    let rest = stage.read(&event, Start::After(one.next)).await?;
    ensure_eq!(rest.len(), 2, "messages after the first page");
    Ok(())
}

/// catches: an empty event that fails to read, or whose next place is of no use.
pub async fn an_empty_event_is_an_end_with_a_place(stage: Stage) -> Verdict {
    if !stage.claims(&READING).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let page = stage.page(&event, Start::Beginning, 10).await?;
    ensure!(page.messages.is_empty() && page.end && page.gap.is_none(), "an empty event reads as {page:?}");
    let mut rest = stage.subscribe(&event, ask::from(Start::After(page.next.clone()))).await?;
    stage.publish(&event, ["a"]).await?;
    rest.first("a").await?;
    ensure_eq!(names(&stage.page(&event, Start::After(page.next), 10).await?), ["a"], "the next page");
    Ok(())
}

/// catches: a look at the end that reads history, or that misses what comes next.
pub async fn the_latest_reads_nothing_and_tells_the_end(stage: Stage) -> Verdict {
    if !stage.claims(&READING).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    stage.publish(&event, ["a", "b"]).await?;
    let page = stage.page(&event, Start::Latest, 10).await?;
    ensure!(page.messages.is_empty() && page.end, "the latest reads {page:?}");
    stage.publish(&event, ["c"]).await?;
    ensure_eq!(
        names(&stage.page(&event, Start::After(page.next), 10).await?),
        ["c"],
        "what came after the end"
    );
    Ok(())
}

/// An event with a page read of it, and where that ended: two messages before the end, of which one came since.
async fn behind(stage: &Stage) -> Result<(EventName, Cursor), Broken> {
    let event = stage.event().await?;
    stage.publish(&event, ["a", "b", "c"]).await?;
    let page = stage.page(&event, Start::Beginning, 2).await?;
    stage.publish(&event, ["d"]).await?;
    Ok((event, page.next))
}

/// catches: the hole between the last page and the subscription that goes on from it.
pub async fn reading_then_subscribing_has_no_hole(stage: Stage) -> Verdict {
    if !stage.claims(&READING).await? {
        return Ok(());
    }
    let (event, next) = behind(&stage).await?;
    let mut rest = stage.subscribe(&event, ask::from(Start::After(next))).await?;
    stage.publish(&event, ["e"]).await?;
    rest.ack_all(["c", "d", "e"]).await
}

/// catches: an end that is as old as the page before it.
pub async fn the_end_is_as_new_as_its_page(stage: Stage) -> Verdict {
    if !stage.claims(&READING).await? {
        return Ok(());
    }
    let (event, next) = behind(&stage).await?;
    let rest = stage.read(&event, Start::After(next)).await?;
    let rest: Vec<_> = rest.iter().map(|(_, message)| message.id.as_str()).collect();
    ensure_eq!(rest, ["c", "d"], "what is read to the end");
    Ok(())
}

/// catches: a page whose next place is not that of its last message.
pub async fn next_is_where_the_page_ended(stage: Stage) -> Verdict {
    if !stage.claims(&READING).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    stage.publish(&event, ["a", "b", "c", "d"]).await?;
    let page = stage.page(&event, Start::Beginning, 2).await?;
    let (last, _) = nth(&page.messages, 1)?.clone();
    let by_next = names(&stage.page(&event, Start::After(page.next), 10).await?);
    let by_last = names(&stage.page(&event, Start::After(last), 10).await?);
    ensure_eq!((by_next, by_last), (vec!["c".into(), "d".into()], vec!["c".into(), "d".into()]), "the rest");
    Ok(())
}

/// catches: a look into history that takes messages from a group, or counts an attempt.
pub async fn reading_leases_nothing(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Replay, Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["a", "b"]).await?;
    for _ in 0..3 {
        ensure_eq!(stage.held(&event).await?, ["a", "b"], "what is held");
    }
    member.ack_all(["a", "b"]).await?;
    ensure_eq!(stage.held(&event).await?, ["a", "b"], "what is held when all is settled");
    Ok(())
}
