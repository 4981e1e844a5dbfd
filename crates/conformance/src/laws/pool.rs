//! Each message goes to one member of a group.

use std::{collections::BTreeSet, time::Duration};

use busgate_core::{GroupName, Mode, Start, SubscribeOptions};

use crate::{
    Broken, Claim, Stage, Verdict, Watch,
    ask::{self, Asking},
    stage::ids,
};

/// Takes what comes to either until both were quiet; every message is acked.
async fn drain(stage: &Stage, members: &mut [Watch], count: usize) -> Verdict<Vec<Vec<String>>> {
    let mut found = vec![Vec::new(); members.len()];
    let mut left = count;
    let short = stage.pace().quiet / 10;
    let started = tokio::time::Instant::now();
    while left > 0 {
        ensure!(started.elapsed() < stage.pace().patience * 4, "{left} of {count} messages never came");
        for (member, found) in members.iter_mut().zip(&mut found) {
            if let Some(delivery) = member.delivery_within(short).await? {
                ensure_eq!(delivery.attempt, 1, "the attempt of `{}`", delivery.message.id);
                found.push(delivery.message.id.to_string());
                delivery.ack().await?;
                left = left.saturating_sub(1);
            }
        }
    }
    Ok(found)
}

/// catches: a message that two members get, or none.
pub async fn each_message_goes_to_one_member(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut members = Vec::new();
    for _ in 0..3 {
        members.push(stage.subscribe(&event, ask::pool()?.window(4)).await?);
    }
    let sent = ids("m", 60);
    stage.publish(&event, &sent).await?;
    let found: Vec<_> = drain(&stage, &mut members, 60).await?.concat();
    let distinct: BTreeSet<_> = found.iter().collect();
    ensure_eq!(distinct, sent.iter().collect::<BTreeSet<_>>(), "the messages of all members");
    for member in &mut members {
        member.quiet_for(stage.pace().quiet / 3).await?;
    }
    Ok(())
}

/// catches: groups that take each other's messages or progress.
pub async fn groups_are_apart(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut mail = stage.subscribe(&event, ask::group("mail")?).await?;
    let mut audit = stage.subscribe(&event, ask::group("audit")?).await?;
    stage.publish(&event, ["a", "b"]).await?;
    mail.ack_all(["a", "b"]).await?;
    audit.ack_all(["a", "b"]).await
}

/// catches: the group of those who name none, treated as no group.
pub async fn the_default_group_is_one_like_any(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let default = SubscribeOptions::pool(GroupName::default(), Start::Latest);
    let mut members = [
        stage.subscribe(&event, default.clone().window(2)).await?,
        stage.subscribe(&event, default.window(2)).await?,
    ];
    let mut other = stage.subscribe(&event, ask::group("Default")?).await?;
    stage.publish(&event, ids("m", 8)).await?;
    let found = drain(&stage, &mut members, 8).await?.concat();
    ensure_eq!(found.iter().collect::<BTreeSet<_>>().len(), 8, "distinct messages of the group");
    other.ack_all(ids("m", 8)).await
}

/// catches: a member that joins later and gets nothing.
pub async fn a_member_that_joins_takes_part(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut full = stage.subscribe(&event, ask::pool()?.window(1)).await?;
    stage.publish(&event, ["a", "b"]).await?;
    let _held = full.first("a").await?;
    let mut joins = stage.subscribe(&event, ask::pool()?.window(1)).await?;
    joins.ack_all(["b"]).await
}

/// catches: messages that stay with a member that left.
pub async fn a_member_that_leaves_hands_on(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut leaves = stage.subscribe(&event, ask::pool()?).await?;
    let mut stays = stage.subscribe(&event, ask::pool()?.window(1)).await?;
    stage.publish(&event, ids("m", 10)).await?;
    let taken = leaves.delivery().await?;
    let taken_id = taken.message.id.to_string();
    taken.ack().await?;
    drop(leaves);
    let found: BTreeSet<_> = stays.ack_some(9).await?.into_iter().collect();
    ensure!(!found.contains(&taken_id) && found.len() == 9, "the member that stays got {found:?}");
    stays.quiet_for(stage.pace().quiet / 3).await
}

/// catches: one member that gets everything while another has room.
pub async fn work_spreads_over_the_members(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut one = stage.subscribe(&event, ask::pool()?.window(2)).await?;
    let mut two = stage.subscribe(&event, ask::pool()?.window(2)).await?;
    stage.publish(&event, ids("m", 6)).await?;
    let mut held = Vec::new();
    for member in [&mut one, &mut two] {
        held.push(member.delivery().await?);
        held.push(member.delivery().await?);
    }
    let distinct: BTreeSet<_> = held.iter().map(|delivery| delivery.message.id.clone()).collect();
    ensure_eq!(distinct.len(), 4, "distinct messages held by two members with a window of two");
    one.quiet_for(stage.pace().quiet / 3).await
}

/// catches: a member that is always passed over.
pub async fn no_member_starves(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut members = Vec::new();
    for _ in 0..4 {
        members.push(stage.subscribe(&event, ask::pool()?.window(1)).await?);
    }
    stage.publish(&event, ids("m", 40)).await?;
    let found = drain(&stage, &mut members, 40).await?;
    let least = found.iter().map(Vec::len).min().unwrap_or_default();
    ensure!(least > 0, "of 40 messages the members got {:?}", found.iter().map(Vec::len).collect::<Vec<_>>());
    Ok(())
}

/// catches: a trickle of messages that always wakes the same member.
pub async fn a_trickle_reaches_every_member(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut members = Vec::new();
    for _ in 0..3 {
        let mut watch = stage.subscribe(&event, ask::pool()?).await?;
        members.push(stage.later(Duration::ZERO, async move {
            let mut found = 0;
            loop {
                let delivery = watch.delivery().await?;
                let last = delivery.message.id.as_str().starts_with("last");
                delivery.ack().await?;
                if last {
                    return Ok::<_, Broken>(found);
                }
                found += 1;
            }
        }));
    }
    for id in ids("m", 30) {
        stage.pass(stage.pace().short / 100).await;
        stage.publish(&event, [&id]).await?;
    }
    stage.publish(&event, ids("last", 3)).await?;
    let mut found = Vec::new();
    for member in members {
        found.push(member.done().await??);
    }
    ensure_eq!(found.iter().sum::<usize>(), 30, "messages that all got");
    ensure!(!found.contains(&0), "of 30 messages the members got {found:?}");
    Ok(())
}

/// catches: a group without members that forgets, or that starts over where a new one would.
pub async fn a_group_goes_on_where_it_was(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["a", "b"]).await?;
    member.ack_all(["a", "b"]).await?;
    drop(member);
    stage.publish(&event, ["c", "d"]).await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    member.ack_all(["c", "d"]).await?;
    drop(member);
    if !stage.claims(&[Claim::Replay]).await? {
        return Ok(());
    }
    let mut member = stage.subscribe(&event, ask::pool()?.start(Start::Beginning)).await?;
    stage.publish(&event, ["e"]).await?;
    member.ack_all(["e"]).await
}

/// catches: a new group that ignores where it should start.
pub async fn a_new_group_starts_where_it_asks(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool, Claim::Replay]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    stage.publish(&event, ["a", "b"]).await?;
    let mut all = stage.subscribe(&event, ask::group("all")?.start(Start::Beginning)).await?;
    let mut new = stage.subscribe(&event, ask::group("new")?).await?;
    let (cursor, _) = crate::stage::nth(&stage.read(&event, Start::Beginning).await?, 0)?.clone();
    let mut rest = stage.subscribe(&event, ask::group("rest")?.start(Start::After(cursor))).await?;
    stage.publish(&event, ["c"]).await?;
    all.ack_all(["a", "b", "c"]).await?;
    new.ack_all(["c"]).await?;
    rest.ack_all(["b", "c"]).await
}

/// catches: deliveries of a group whose token names another holder or event.
pub async fn a_lease_names_its_holder_and_event(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let options = ask::pool()?;
    let Mode::WorkerPool { .. } = &options.mode else { return Ok(()) };
    let holder = options.mode.holder();
    let mut member = stage.subscribe(&event, options).await?;
    stage.publish(&event, ["a"]).await?;
    let token = member.lease("a").await?;
    ensure_eq!((Some(token.holder), token.event), (holder, event), "the holder and event of the lease");
    let (bytes, most) = (token.entry.len(), stage.harness().longest_entry());
    ensure!(bytes <= most, "the entry of a token has {bytes} bytes, of {most} at most");
    Ok(())
}
