//! Named consumers: broadcast with a checkpoint.

use std::{collections::BTreeSet, time::Duration};

use busgate_core::{ErrorKind, Start};

use crate::{
    Claim, Stage, Verdict,
    ask::{self, Asking},
    stage::ids,
    watch::token,
};

/// catches: a consumer that starts over, or skips, when it comes back.
pub async fn it_goes_on_where_it_was(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Resume]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut reader = stage.subscribe(&event, ask::consumer("reader")?).await?;
    stage.publish(&event, ids("m", 5)).await?;
    reader.ack_all(["m0", "m1", "m2"]).await?;
    drop(reader);
    stage.publish(&event, ["m5"]).await?;
    let mut reader = stage.subscribe(&event, ask::consumer("reader")?).await?;
    reader.ack_all(["m3", "m4", "m5"]).await?;
    reader.quiet().await
}

/// catches: a start that moves a consumer which has a position already.
pub async fn its_start_counts_only_when_it_is_new(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Resume, Claim::Replay, Claim::Redelivery]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    stage.publish(&event, ["a", "b"]).await?;
    let mut reader = stage.subscribe(&event, ask::consumer("reader")?.start(Start::Beginning)).await?;
    reader.ack_all(["a", "b"]).await?;
    drop(reader);
    stage.publish(&event, ["c"]).await?;
    for start in [Start::Beginning, Start::Latest] {
        let mut reader = stage.subscribe(&event, ask::consumer("reader")?.start(start).window(1)).await?;
        let token = reader.lease("c").await?;
        let release = busgate_core::Verb::Release { counted: false };
        stage.settle(&token, release).await?;
    }
    Ok(())
}

/// catches: a checkpoint that passes what was never acked.
pub async fn what_it_did_not_ack_comes_back(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Resume, Claim::Redelivery]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let options = ask::consumer("reader")?.lease(stage.pace().short);
    let mut reader = stage.subscribe(&event, options.clone()).await?;
    stage.publish(&event, ["a", "b", "c", "d"]).await?;
    reader.ack_all(["a"]).await?;
    let _held = reader.first("b").await?;
    reader.ack_all(["c"]).await?;
    drop(reader);
    let mut reader = stage.subscribe(&event, options).await?;
    let mut found = BTreeSet::new();
    while !found.contains("b") || !found.contains("d") {
        let delivery = reader.delivery().await?;
        ensure!(delivery.message.id.as_str() != "a", "`a` was acked before all others, and comes back");
        found.insert(delivery.message.id.to_string());
        delivery.ack().await?;
    }
    Ok(())
}

/// catches: two connections of one consumer that share its messages, or a newcomer that is locked out.
pub async fn a_takeover_ends_the_earlier_one(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Resume]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut earlier = stage.subscribe(&event, ask::consumer("reader")?).await?;
    stage.publish(&event, ["a"]).await?;
    earlier.ack_all(["a"]).await?;
    let mut later = stage.subscribe(&event, ask::consumer("reader")?).await?;
    earlier.ends_with(ErrorKind::Exists).await?;
    stage.publish(&event, ["b", "c"]).await?;
    later.ack_all(["b", "c"]).await?;
    drop(earlier);
    stage.publish(&event, ["d"]).await?;
    later.ack_all(["d"]).await
}

/// catches: consumers that share a checkpoint or divide the messages.
pub async fn consumers_are_apart(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Resume]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut one = stage.subscribe(&event, ask::consumer("one")?).await?;
    let mut two = stage.subscribe(&event, ask::consumer("two")?).await?;
    stage.publish(&event, ["a", "b"]).await?;
    one.ack_all(["a", "b"]).await?;
    drop(one);
    two.ack_all(["a"]).await?;
    drop(two);
    let mut two = stage.subscribe(&event, ask::consumer("two")?).await?;
    two.ack_all(["b"]).await?;
    let mut one = stage.subscribe(&event, ask::consumer("one")?).await?;
    stage.publish(&event, ["c"]).await?;
    one.ack_all(["c"]).await
}

/// catches: one table for groups and consumers, where the same name meets.
pub async fn a_group_of_the_same_name_is_another(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Resume, Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut reader = stage.subscribe(&event, ask::consumer("same")?).await?;
    let mut member = stage.subscribe(&event, ask::group("same")?).await?;
    stage.publish(&event, ["a", "b"]).await?;
    reader.ack_all(["a", "b"]).await?;
    member.ack_all(["a", "b"]).await
}

/// catches: a consumer's nack that is taken for an ack.
pub async fn a_nack_brings_it_back_to_the_consumer(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::Resume, Claim::Redelivery, Claim::DelayedRequeue]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut reader = stage.subscribe(&event, ask::consumer("reader")?).await?;
    stage.publish(&event, ["a"]).await?;
    stage.nack(&token(&reader.first("a").await?)?, Duration::ZERO).await?;
    reader.attempt("a", 2).await?.ack().await?;
    reader.quiet().await
}
