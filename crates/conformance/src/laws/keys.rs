//! Order within a key, over all members of a group and across redelivery.

use std::{collections::BTreeMap, time::Duration};

use busgate_core::{EventName, Verb};

use crate::{
    Claim, Stage, Verdict, Watch,
    ask::{self, Asking},
    seed::Seed,
    watch::token,
};

const LEASES: [Claim; 3] = [Claim::WorkerPool, Claim::Redelivery, Claim::DelayedRequeue];

/// Whether a key holds its messages back. Order of keys is not asked for by any call, so where it is not claimed the
/// law shows that messages with keys are delivered all the same.
async fn keys_hold(stage: &Stage) -> Verdict<bool> {
    if !stage.claims(&LEASES).await? {
        return Ok(false);
    }
    if stage.capabilities().ordered_keys {
        return Ok(true);
    }
    let (_, mut member) = keyed(stage, &["a:1", "a:2", "b:1"], 10).await?;
    member.ack_some(3).await?;
    Ok(false)
}

/// A group's only member, with these `key:id`s published to it.
async fn keyed(stage: &Stage, messages: &[&str], window: usize) -> Verdict<(EventName, Watch)> {
    let event = stage.event().await?;
    let options = ask::pool()?.window(window).lease(stage.pace().short);
    let member = stage.subscribe(&event, options).await?;
    publish(stage, &event, messages).await?;
    Ok((event, member))
}

async fn publish(stage: &Stage, event: &EventName, messages: &[&str]) -> Verdict {
    let messages = messages.iter().map(|id| match id.split_once(':') {
        Some((key, _)) => stage.keyed(key, id),
        None => stage.message(id),
    });
    stage.publish_batch(event, messages.collect::<Verdict<Vec<_>>>()?).await.map(drop)
}

/// catches: two messages of one key in two hands at once.
pub async fn a_keys_next_message_waits_for_the_earlier(stage: Stage) -> Verdict {
    if !keys_hold(&stage).await? {
        return Ok(());
    }
    let (event, mut one) = keyed(&stage, &["a:1", "a:2", "a:3"], 10).await?;
    let options = ask::pool()?.lease(stage.pace().short * 10);
    let mut two = stage.subscribe(&event, options).await?;
    for id in ["a:1", "a:2", "a:3"] {
        let held = tokio::select! { found = one.delivery() => found?, found = two.delivery() => found? };
        ensure_eq!(held.message.id.as_str(), id, "the next message of the key");
        let silence = stage.pace().short / 4;
        let (left, right) = tokio::join!(one.quiet_for(silence), two.quiet_for(silence));
        left.and(right).map_err(|broken| broken.during(&format!("while `{id}` is held")))?;
        held.ack().await?;
    }
    Ok(())
}

/// catches: one key's held message that stops the whole group.
pub async fn other_keys_go_on(stage: Stage) -> Verdict {
    if !keys_hold(&stage).await? {
        return Ok(());
    }
    let (event, mut member) = keyed(&stage, &["a:1", "a:2"], 10).await?;
    let held = member.first("a:1").await?;
    publish(&stage, &event, &["b:1", "plain", "b:2", "c:1"]).await?;
    // `b:2` waits for `b:1`: whoever reads ahead has passed it by then, and finds it after what waits for nothing.
    let mut found = member.ack_some(4).await?;
    ensure!(
        found.iter().position(|id| id == "b:1") < found.iter().position(|id| id == "b:2"),
        "found {found:?}"
    );
    found.sort();
    ensure_eq!(found, ["b:1", "b:2", "c:1", "plain"], "what goes on while `a:1` is held");
    held.ack().await?;
    member.ack_all(["a:2"]).await
}

/// catches: messages without a key that are taken for messages of one key.
pub async fn messages_without_a_key_do_not_wait(stage: Stage) -> Verdict {
    if !stage.claims(&LEASES).await? {
        return Ok(());
    }
    let (_, mut member) = keyed(&stage, &["one", "two", "three"], 10).await?;
    let _held = [member.first("one").await?, member.first("two").await?, member.first("three").await?];
    Ok(())
}

/// catches: a nacked message that its successor overtakes.
pub async fn order_is_kept_across_a_nack(stage: Stage) -> Verdict {
    if !keys_hold(&stage).await? {
        return Ok(());
    }
    let (event, mut member) = keyed(&stage, &["a:1", "a:2"], 10).await?;
    stage.nack(&member.lease("a:1").await?, stage.pace().short).await?;
    publish(&stage, &event, &["b:1"]).await?;
    member.ack_all(["b:1"]).await?;
    member.quiet_for(stage.pace().short / 2).await?;
    member.attempt("a:1", 2).await?.ack().await?;
    member.ack_all(["a:2"]).await
}

/// catches: a lease that runs out and lets the key's next message go first.
pub async fn order_is_kept_when_a_lease_ends(stage: Stage) -> Verdict {
    if !keys_hold(&stage).await? {
        return Ok(());
    }
    let (_, mut member) = keyed(&stage, &["a:1", "a:2"], 10).await?;
    let _held = member.first("a:1").await?;
    member.attempt("a:1", 2).await?.ack().await?;
    member.ack_all(["a:2"]).await
}

/// catches: a hand-back that loses its place in the key.
pub async fn order_is_kept_across_a_release(stage: Stage) -> Verdict {
    if !keys_hold(&stage).await? {
        return Ok(());
    }
    let (_, mut member) = keyed(&stage, &["a:1", "a:2"], 10).await?;
    let token = member.lease("a:1").await?;
    stage.settle(&token, Verb::Release { counted: false }).await?;
    member.ack_all(["a:1", "a:2"]).await
}

/// catches: a dead letter that blocks its key for ever.
pub async fn a_rejected_message_lets_its_key_go_on(stage: Stage) -> Verdict {
    if !keys_hold(&stage).await? || !stage.claims(&[Claim::DeadLetters]).await? {
        return Ok(());
    }
    let (_, mut member) = keyed(&stage, &["a:1", "a:2", "a:3"], 10).await?;
    member.first("a:1").await?.reject("no").await?;
    member.ack_all(["a:2", "a:3"]).await
}

/// catches: a message with its attempts used up that blocks its key for ever.
pub async fn a_used_up_message_lets_its_key_go_on(stage: Stage) -> Verdict {
    if !keys_hold(&stage).await? || !stage.claims(&[Claim::DeadLetters]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?.tries(1)).await?;
    publish(&stage, &event, &["a:1", "a:2"]).await?;
    stage.nack(&member.lease("a:1").await?, Duration::ZERO).await?;
    member.ack_all(["a:2"]).await
}

/// catches: a key that stays held by a member which left.
pub async fn a_key_goes_on_when_its_holder_left(stage: Stage) -> Verdict {
    if !keys_hold(&stage).await? {
        return Ok(());
    }
    let (event, mut leaves) = keyed(&stage, &["a:1", "a:2"], 1).await?;
    let token = leaves.lease("a:1").await?;
    let mut stays = stage.subscribe(&event, ask::pool()?).await?;
    drop(leaves);
    stage.settle(&token, Verb::Ack).await?;
    stays.ack_all(["a:2"]).await
}

/// catches: one group's key held back by another group's lease.
pub async fn keys_of_two_groups_are_apart(stage: Stage) -> Verdict {
    if !keys_hold(&stage).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut mail = stage.subscribe(&event, ask::group("mail")?).await?;
    let mut audit = stage.subscribe(&event, ask::group("audit")?).await?;
    publish(&stage, &event, &["a:1", "a:2"]).await?;
    let _held = mail.first("a:1").await?;
    audit.ack_all(["a:1", "a:2"]).await
}

/// catches: any disorder of keys under random nacks, releases and members that come and go.
pub async fn random_work_keeps_each_keys_order(stage: Stage) -> Verdict {
    if !keys_hold(&stage).await? {
        return Ok(());
    }
    let (count, first) = stage.pace().seeds;
    for seed in first..first + count {
        one_random_run(&stage, seed).await.map_err(|broken| broken.during(&format!("seed {seed}")))?;
    }
    Ok(())
}

async fn one_random_run(stage: &Stage, number: u64) -> Verdict {
    let (mut seed, event) = (Seed::new(number), stage.event().await?);
    let options = ask::pool()?.window(3).tries(1000);
    let mut members = vec![stage.subscribe(&event, options.clone()).await?];
    members.push(stage.subscribe(&event, options.clone()).await?);
    let mut sent: Vec<String> = Vec::new();
    for nth in 0..60 {
        sent.push(format!("k{}:{nth}", seed.below(6)));
    }
    publish(stage, &event, &sent.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let mut done: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut left = sent.len();
    let started = tokio::time::Instant::now();
    while left > 0 {
        ensure!(
            started.elapsed() < stage.pace().patience * 6,
            "{left} of {} messages never came",
            sent.len()
        );
        let at = seed.below(members.len());
        let Some(member) = members.get_mut(at) else { continue };
        let Some(delivery) = member.delivery_within(stage.pace().quiet / 20).await? else { continue };
        let token = token(&delivery)?;
        match seed.below(10) {
            0 | 1 => {
                let steps = u32::try_from(seed.below(3)).unwrap_or_default();
                stage.nack(&token, stage.pace().short / 50 * steps).await?;
            }
            2 => drop(stage.settle(&token, Verb::Release { counted: false }).await?),
            3 => {
                members.push(stage.subscribe(&event, options.clone()).await?);
                drop(members.swap_remove(at));
                stage.settle(&token, Verb::Release { counted: true }).await?;
            }
            _ => {
                let key = delivery.message.key.clone().unwrap_or_default();
                done.entry(key).or_default().push(delivery.message.id.to_string());
                delivery.ack().await?;
                left -= 1;
            }
        }
    }
    for (key, done) in done {
        let wanted = sent.iter().filter(|id| id.split(':').next() == Some(&key));
        ensure!(wanted.eq(&done), "the key `{key}` was done in the order {done:?}");
    }
    Ok(())
}
