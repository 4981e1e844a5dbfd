//! Messages nobody could do, with their story.

use std::{sync::Arc, time::Duration};

use busgate_core::{
    Cursor, DEAD_LETTER_META, ErrorKind, EventName, Message, Nack, Settled, Start, SubscribeOptions, Verb,
};

use crate::{
    Broken, Claim, Stage, Verdict,
    ask::{self, Asking},
    stage::only,
    watch::token,
};

/// What it takes that a message dies.
pub(crate) const LETTERS: [Claim; 5] =
    [Claim::WorkerPool, Claim::Redelivery, Claim::DelayedRequeue, Claim::Replay, Claim::DeadLetters];

/// The dead letters of `event`, once there are `count`.
pub(crate) async fn letters(
    stage: &Stage,
    event: &EventName,
    count: usize,
) -> Verdict<Vec<(Cursor, Arc<Message>)>> {
    let dead = event.dead_letter()?;
    let held = async || -> Verdict<Vec<(Cursor, Arc<Message>)>> {
        match stage.try_page(&dead, Start::Beginning, 500).await {
            Ok(page) => Ok(page.messages),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    };
    stage
        .eventually(&format!("there are {count} dead letters"), || async { Ok(held().await?.len() >= count) })
        .await?;
    let found = held().await?;
    ensure_eq!(found.len(), count, "the number of dead letters");
    Ok(found)
}

/// A part of the story.
pub(crate) fn told<'a>(letter: &'a Message, what: &str) -> Option<&'a str> {
    letter.metadata.get(&format!("{DEAD_LETTER_META}{what}")).map(String::as_str)
}

/// Fails `id` until its attempts are used up, each time with an error of its own.
async fn use_up(stage: &Stage, event: &EventName, options: SubscribeOptions, id: &str) -> Verdict<Cursor> {
    let tries = options.retry.max_deliver;
    let mut member = stage.subscribe(event, options).await?;
    let mut cursor = None;
    for attempt in 1..=tries {
        let delivery = member.attempt(id, attempt).await?;
        cursor = Some(delivery.cursor.clone());
        let nack = Nack { delay: Some(Duration::ZERO), error: Some(format!("failure {attempt}")) };
        ensure_eq!(delivery.nack(nack).await?, Settled::Nacked, "nack {attempt}");
    }
    member.quiet_for(stage.pace().quiet / 3).await?;
    cursor.ok_or_else(|| Broken::new("no attempt was made"))
}

/// catches: a rejected message that comes back, or that is just gone.
pub async fn a_rejected_message_becomes_one(stage: Stage) -> Verdict {
    if !stage.claims(&LETTERS).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?.lease(stage.pace().short)).await?;
    stage.publish(&event, ["bad", "good"]).await?;
    let delivery = member.first("bad").await?;
    let cursor = delivery.cursor.clone();
    ensure_eq!(delivery.reject("cannot be parsed").await?, Settled::Rejected, "the reject");
    member.ack_all(["good"]).await?;
    member.quiet_for(stage.pace().short * 2).await?;
    let (_, letter) = only(letters(&stage, &event, 1).await?)?;
    ensure_eq!(&letter.payload[..], b"bad", "the payload of the dead letter");
    ensure_eq!(told(&letter, "reason"), Some("rejected"), "its reason");
    ensure_eq!(told(&letter, "last-error"), Some("cannot be parsed"), "its last error");
    ensure_eq!(told(&letter, "attempts"), Some("1"), "its attempts");
    ensure_eq!(told(&letter, "cursor"), Some(cursor.as_str()), "the place it had");
    Ok(())
}

/// catches: a poison message that is delivered for ever, or dropped, or one attempt too early or too late.
pub async fn a_message_with_its_attempts_used_up_becomes_one(stage: Stage) -> Verdict {
    if !stage.claims(&LETTERS).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let options = ask::pool()?.tries(3);
    drop(stage.subscribe(&event, options.clone()).await?);
    stage.publish(&event, ["poison"]).await?;
    let cursor = use_up(&stage, &event, options, "poison").await?;
    let (_, letter) = only(letters(&stage, &event, 1).await?)?;
    ensure_eq!(told(&letter, "reason"), Some("max_deliver"), "its reason");
    ensure_eq!(told(&letter, "attempts"), Some("3"), "its attempts");
    ensure_eq!(told(&letter, "first-error"), Some("failure 1"), "its first error");
    ensure_eq!(told(&letter, "last-error"), Some("failure 3"), "its last error");
    ensure_eq!(told(&letter, "group"), Some("workers"), "the group it left");
    ensure_eq!(told(&letter, "event"), Some(event.as_str()), "the event it left");
    ensure_eq!(told(&letter, "cursor"), Some(cursor.as_str()), "the place it had");
    ensure_eq!(told(&letter, "id"), Some("poison"), "the id it had");
    Ok(())
}

/// catches: leases that run out and are never counted against the attempts.
pub async fn leases_that_run_out_use_up_attempts(stage: Stage) -> Verdict {
    if !stage.claims(&LETTERS).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let lease = stage.pace().short / 2;
    let mut member = stage.subscribe(&event, ask::pool()?.lease(lease).tries(2)).await?;
    stage.publish(&event, ["poison"]).await?;
    let _one = member.attempt("poison", 1).await?;
    let two = member.attempt("poison", 2).await?;
    member.quiet_for(lease * 3).await?;
    let (_, letter) = only(letters(&stage, &event, 1).await?)?;
    ensure_eq!(told(&letter, "attempts"), Some("2"), "its attempts");
    ensure_eq!(told(&letter, "reason"), Some("max_deliver"), "its reason");
    ensure_eq!(stage.settle(&token(&two)?, Verb::Ack).await?, Settled::Stale, "an ack after the end");
    Ok(())
}

/// catches: one attempt that is allowed and never made, or an extra one.
pub async fn a_single_attempt_is_made_once(stage: Stage) -> Verdict {
    if !stage.claims(&LETTERS).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let options = ask::pool()?.tries(1);
    drop(stage.subscribe(&event, options.clone()).await?);
    stage.publish(&event, ["poison"]).await?;
    use_up(&stage, &event, options, "poison").await?;
    let (_, letter) = only(letters(&stage, &event, 1).await?)?;
    ensure_eq!(told(&letter, "attempts"), Some("1"), "its attempts");
    Ok(())
}

/// catches: a dead letter that lost what the message carried.
pub async fn it_keeps_payload_key_and_metadata(stage: Stage) -> Verdict {
    if !stage.claims(&LETTERS).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    let mut sent = stage.keyed("customer-7", "bad")?;
    sent.payload = (0..=255).collect::<Vec<u8>>().into();
    sent.content_type = Some("application/octet-stream".into());
    sent.metadata = [("Trace-Id", "t"), ("empty", "")].map(|(key, value)| (key.into(), value.into())).into();
    stage.publish_one(&event, sent.clone()).await?;
    member.first("bad").await?.reject("no").await?;
    let (_, letter) = only(letters(&stage, &event, 1).await?)?;
    ensure_eq!(letter.payload, sent.payload, "the payload");
    ensure_eq!(letter.key, sent.key, "the key");
    ensure_eq!(letter.content_type, sent.content_type, "the content type");
    let mut own = letter.metadata.clone();
    own.retain(|key, _| !key.starts_with(DEAD_LETTER_META));
    ensure_eq!(own, sent.metadata, "the metadata beside the story");
    Ok(())
}

/// catches: one group's failure that takes the message from another.
pub async fn it_is_dead_for_its_group_only(stage: Stage) -> Verdict {
    if !stage.claims(&LETTERS).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut mail = stage.subscribe(&event, ask::group("mail")?).await?;
    let mut audit = stage.subscribe(&event, ask::group("audit")?).await?;
    stage.publish(&event, ["a"]).await?;
    mail.first("a").await?.reject("no").await?;
    audit.ack_all(["a"]).await?;
    let (_, letter) = only(letters(&stage, &event, 1).await?)?;
    ensure_eq!(told(&letter, "group"), Some("mail"), "the group it left");
    Ok(())
}

/// catches: the second group's dead letter that is taken for a duplicate of the first one's.
pub async fn two_groups_leave_two(stage: Stage) -> Verdict {
    if !stage.claims(&LETTERS).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut mail = stage.subscribe(&event, ask::group("mail")?).await?;
    let mut audit = stage.subscribe(&event, ask::group("audit")?).await?;
    stage.publish(&event, ["a"]).await?;
    mail.first("a").await?.reject("no").await?;
    audit.first("a").await?.reject("no").await?;
    let letters = letters(&stage, &event, 2).await?;
    let mut groups: Vec<_> = letters.iter().filter_map(|(_, letter)| told(letter, "group")).collect();
    groups.sort_unstable();
    ensure_eq!(groups, ["audit", "mail"], "the groups of the dead letters");
    Ok(())
}

/// catches: a dead-letter event that can't be worked on like any other.
pub async fn they_can_be_worked_on_like_any_event(stage: Stage) -> Verdict {
    if !stage.claims(&LETTERS).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["a", "b"]).await?;
    member.first("a").await?.reject("no").await?;
    member.first("b").await?.reject("no").await?;
    letters(&stage, &event, 2).await?;
    let options = ask::group("undertakers")?.start(Start::Beginning);
    let mut undertaker = stage.subscribe(&event.dead_letter()?, options).await?;
    for payload in ["a", "b"] {
        let letter = undertaker.delivery().await?;
        ensure_eq!(&letter.message.payload[..], payload.as_bytes(), "the next dead letter");
        ensure_eq!(letter.ack().await?, Settled::Acked, "the ack of a dead letter");
    }
    Ok(())
}

/// catches: dead letters of dead letters without end.
pub async fn a_dead_letter_that_is_rejected_breeds_no_other(stage: Stage) -> Verdict {
    if !stage.claims(&LETTERS).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["a"]).await?;
    member.first("a").await?.reject("no").await?;
    letters(&stage, &event, 1).await?;
    let options = ask::group("undertakers")?.start(Start::Beginning).lease(stage.pace().short);
    let mut undertaker = stage.subscribe(&event.dead_letter()?, options).await?;
    let delivery = undertaker.delivery().await?;
    ensure_eq!(delivery.reject("not even this").await?, Settled::Rejected, "the reject of a dead letter");
    undertaker.quiet_for(stage.pace().short * 2).await?;
    letters(&stage, &event, 1).await.map(drop)
}

/// catches: a reason without bound, or one that breaks the metadata.
pub async fn a_long_reason_is_told_within_bounds(stage: Stage) -> Verdict {
    if !stage.claims(&LETTERS).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["a"]).await?;
    member.first("a").await?.reject("ünd 🦀\r\n".repeat(20_000)).await?;
    let (_, letter) = only(letters(&stage, &event, 1).await?)?;
    let told = told(&letter, "last-error").unwrap_or_default();
    ensure!(
        told.starts_with("ünd 🦀") && told.len() <= 16 * 1024,
        "the reason told has {} bytes",
        told.len()
    );
    Ok(())
}
