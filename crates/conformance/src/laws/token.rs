//! A token settles one delivery of one message, once.

use std::{sync::Arc, time::Duration};

use busgate_core::{
    ConsumerName, Error, ErrorKind, Fencing, GroupName, Holder, LeaseToken, Result, Settled, Settlement, Verb,
};
use bytes::Bytes;

use crate::{
    Claim, Stage, Verdict,
    ask::{self, Asking},
    stage::only,
    watch::token,
};

const RELEASE: Verb = Verb::Release { counted: true };

/// Every verb the transport claims.
fn verbs(stage: &Stage) -> Vec<Verb> {
    let mut verbs = vec![Verb::Ack];
    if stage.claimed(Claim::Redelivery) {
        verbs.extend([Verb::Nack(busgate_core::Nack::default()), RELEASE, Verb::Release { counted: false }]);
    }
    if stage.claimed(Claim::Extend) {
        verbs.push(Verb::Extend(Duration::from_secs(60)));
    }
    if stage.claimed(Claim::DeadLetters) {
        verbs.push(Verb::Reject { reason: "no".into() });
    }
    verbs
}

/// catches: a second settlement that changes what the first one did.
pub async fn settling_twice_is_stale(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["a"]).await?;
    let token = member.lease("a").await?;
    ensure_eq!(stage.settle(&token, Verb::Ack).await?, Settled::Acked, "the first ack");
    for verb in verbs(&stage) {
        ensure_eq!(stage.settle(&token, verb.clone()).await?, Settled::Stale, "{verb:?} after the ack");
    }
    stage.publish(&event, ["marker"]).await?;
    member.ack_all(["marker"]).await?;
    member.quiet().await
}

/// catches: an ack from before the nack that takes the message away.
pub async fn a_token_is_stale_after_its_nack(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool, Claim::Redelivery, Claim::DelayedRequeue]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["a"]).await?;
    let token = member.lease("a").await?;
    stage.nack(&token, stage.pace().short).await?;
    for verb in verbs(&stage) {
        ensure_eq!(stage.settle(&token, verb.clone()).await?, Settled::Stale, "{verb:?} after the nack");
    }
    ensure_eq!(member.attempt("a", 2).await?.ack().await?, Settled::Acked, "the ack of the second attempt");
    Ok(())
}

/// catches: a slow worker's late answer that settles the message in the hands of another.
pub async fn a_stale_epoch_changes_nothing(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool, Claim::Redelivery]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let lease = stage.pace().short;
    let mut member = stage.subscribe(&event, ask::pool()?.lease(lease)).await?;
    stage.publish(&event, ["a"]).await?;
    let old = member.lease("a").await?;
    let new = member.attempt("a", 2).await?;
    if stage.capabilities().fenced == Fencing::None {
        return new.ack().await.map(drop).map_err(Into::into);
    }
    for verb in verbs(&stage) {
        ensure_eq!(stage.settle(&old, verb.clone()).await?, Settled::Stale, "{verb:?} of an earlier epoch");
    }
    ensure!(token(&new)?.epoch != old.epoch, "two deliveries have the same epoch");
    ensure_eq!(new.ack().await?, Settled::Acked, "the ack of the holder");
    Ok(())
}

/// catches: a release that leaves its token good when another has taken the message.
pub async fn a_released_token_is_stale_once_another_takes_it(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool, Claim::Redelivery]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["a"]).await?;
    let old = member.lease("a").await?;
    ensure_eq!(stage.settle(&old, Verb::Release { counted: false }).await?, Settled::Released, "the release");
    let new = member.first("a").await?;
    if stage.capabilities().fenced == Fencing::Exact {
        ensure_eq!(stage.settle(&old, Verb::Ack).await?, Settled::Stale, "an ack by the released token");
    }
    ensure_eq!(new.ack().await?, Settled::Acked, "the ack of the holder");
    Ok(())
}

/// catches: tokens that die with the subscription that handed them out.
pub async fn it_settles_after_its_subscription_is_gone(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["a", "b"]).await?;
    let (a, b) = (member.lease("a").await?, member.lease("b").await?);
    drop(member);
    ensure_eq!(
        stage.settle(&a, Verb::Ack).await?,
        Settled::Acked,
        "an ack after the subscription was dropped"
    );
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    ensure_eq!(stage.settle(&b, Verb::Ack).await?, Settled::Acked, "an ack after a reconnect");
    stage.publish(&event, ["marker"]).await?;
    member.ack_all(["marker"]).await
}

/// catches: a group's token that settles for another group.
pub async fn it_settles_for_its_own_holder_only(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut mail = stage.subscribe(&event, ask::group("mail")?).await?;
    let mut audit = stage.subscribe(&event, ask::group("audit")?).await?;
    stage.publish(&event, ["a"]).await?;
    let mails = mail.lease("a").await?;
    let audits = audit.lease("a").await?;
    ensure_eq!(stage.settle(&mails, Verb::Ack).await?, Settled::Acked, "the ack of mail");
    ensure_eq!(
        stage.settle(&audits, Verb::Ack).await?,
        Settled::Acked,
        "the ack of audit after that of mail"
    );
    Ok(())
}

/// catches: a token of an event that was unregistered, taken for one of the event that has its name now.
pub async fn one_of_an_events_earlier_life_changes_nothing(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["old"]).await?;
    let old = member.lease("old").await?;
    stage.transport().unregister(&event).await?;
    stage.transport().register(&event, &busgate_core::EventConfig::default()).await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["new"]).await?;
    let new = member.lease("new").await?;
    for verb in verbs(&stage) {
        let answer = stage.try_settle(&old, verb.clone()).await;
        ensure!(changed_nothing(&answer), "{verb:?} by a token of an earlier life answered {answer:?}");
    }
    ensure_eq!(stage.settle(&new, Verb::Ack).await?, Settled::Acked, "the ack of the new message");
    Ok(())
}

fn changed_nothing(answer: &Result<Settled>) -> bool {
    match answer {
        Ok(Settled::Stale | Settled::Unknown) => true,
        Err(error) => matches!(error.kind(), ErrorKind::Invalid | ErrorKind::NotFound),
        Ok(_) => false,
    }
}

/// catches: tokens for groups, consumers and events nobody has heard of that are answered with success.
pub async fn an_unknown_one_changes_nothing(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["a"]).await?;
    let good = member.lease("a").await?;
    let strangers = [
        LeaseToken { holder: Holder::Group(GroupName::new("nobody")?), ..good.clone() },
        LeaseToken { holder: Holder::Consumer(ConsumerName::new("workers")?), ..good.clone() },
        LeaseToken { event: stage.event().await?, ..good.clone() },
        LeaseToken { event: stage.name()?, ..good.clone() },
        LeaseToken { epoch: good.epoch.wrapping_add(1), ..good.clone() },
        LeaseToken { epoch: 0, ..good.clone() },
        LeaseToken { epoch: u64::MAX, ..good.clone() },
    ];
    for stranger in strangers {
        for verb in verbs(&stage) {
            let answer = stage.try_settle(&stranger, verb.clone()).await;
            ensure!(changed_nothing(&answer), "{verb:?} of {stranger:?} answered {answer:?}");
        }
    }
    ensure_eq!(stage.settle(&good, Verb::Ack).await?, Settled::Acked, "the ack of the true token");
    ensure!(stage.transport().lag(&event).await?.len() <= 1, "settling by unknown tokens made holders");
    Ok(())
}

/// catches: entries that are decoded with trust: panics, wrong messages settled.
pub async fn a_garbled_one_is_refused(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["a"]).await?;
    let good = member.lease("a").await?;
    let mut entries = vec![Bytes::new(), vec![0; 256].into(), vec![255; 256].into(), "not ours".into()];
    for cut in 0..good.entry.len() {
        entries.push(good.entry.slice(..cut));
    }
    entries.push([&good.entry[..], b"x"].concat().into());
    for entry in entries {
        let garbled = LeaseToken { entry, ..good.clone() };
        for verb in verbs(&stage) {
            let answer = stage.try_settle(&garbled, verb).await;
            ensure!(changed_nothing(&answer), "the entry {:?} answered {answer:?}", garbled.entry);
        }
    }
    ensure_eq!(stage.settle(&good, Verb::Ack).await?, Settled::Acked, "the ack of the true token");
    Ok(())
}

/// catches: a batch that a malformed token brings down as a whole.
pub async fn a_garbled_one_does_not_spoil_its_batch(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    stage.publish(&event, ["a"]).await?;
    let good = member.lease("a").await?;
    let garbled = LeaseToken { entry: "not ours".into(), ..good.clone() };
    let batch = [garbled.clone(), good, garbled].map(|token| Settlement { token, verb: Verb::Ack }).to_vec();
    let mut answers = stage.transport().settle(batch).await;
    ensure_eq!(answers.len(), 3, "the number of answers");
    let last = answers.pop().unwrap_or_else(|| Err(Error::internal("none")));
    let middle = answers.pop().unwrap_or_else(|| Err(Error::internal("none")));
    ensure!(changed_nothing(&last) && changed_nothing(&only(answers)?), "a garbled token is settled");
    ensure_eq!(middle?, Settled::Acked, "the good one between two garbled ones");
    Ok(())
}

/// catches: a look and a change with room for another between them.
pub async fn of_concurrent_settlements_one_wins(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    for round in 0..20 {
        let id = format!("m{round}");
        stage.publish(&event, [&id]).await?;
        let token = member.lease(&id).await?;
        let calls = (0..6).map(|_| {
            let (transport, token) = (Arc::clone(stage.transport()), token.clone());
            async move { transport.settle(vec![Settlement { token, verb: Verb::Ack }]).await }
        });
        let mut acked = 0;
        for answers in stage.together(calls.collect::<Vec<_>>()).await? {
            acked += usize::from(only(answers)?? == Settled::Acked);
        }
        ensure_eq!(acked, 1, "how many of six acks won");
    }
    Ok(())
}

/// catches: two verbs at once that both take effect.
pub async fn an_ack_and_a_nack_at_once_do_not_both_win(stage: Stage) -> Verdict {
    if !stage.claims(&[Claim::WorkerPool, Claim::Redelivery, Claim::DelayedRequeue]).await? {
        return Ok(());
    }
    let event = stage.event().await?;
    let mut member = stage.subscribe(&event, ask::pool()?).await?;
    for round in 0..10 {
        let id = format!("m{round}");
        stage.publish(&event, [&id]).await?;
        let token = member.lease(&id).await?;
        let nack = Verb::Nack(busgate_core::Nack { delay: Some(Duration::ZERO), error: None });
        let calls = [Verb::Ack, nack].map(|verb| {
            let (transport, token) = (Arc::clone(stage.transport()), token.clone());
            async move { transport.settle(vec![Settlement { token, verb }]).await }
        });
        let answers = stage.together(calls).await?.into_iter().map(only).collect::<Verdict<Vec<_>>>()?;
        let answers = answers.into_iter().collect::<Result<Vec<_>>>()?;
        match answers[..] {
            [Settled::Acked, Settled::Stale] => {}
            [Settled::Stale, Settled::Nacked] => {
                member.attempt(&id, 2).await?.ack().await?;
            }
            _ => ensure!(false, "an ack and a nack at once answered {answers:?}"),
        }
    }
    member.quiet().await
}
