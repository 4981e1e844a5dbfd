//! `busgate sub`: a subscription that comes back by itself, and acks what it has written.

mod line;

use std::{
    io::{Write, stdout},
    process::ExitCode,
};

use busgate_client::{ClosePolicy, Followed, Following, Received};
use busgate_core::{
    AckMode, AckStatus, Error, Gap, Pattern, Result, SettleAction, SettleAnswer, SettleRequest, Transport,
};
use busgate_wire::query::SubscribeQuery;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};

use self::line::{Look, line};
use super::{
    args::{Acking, Subscribe},
    client::{connect_with, local, pair},
    complain,
};
use crate::config::Environment;

/// How many messages wait here at most.
const BUFFER: u32 = 100;

/// Writes messages until the event is gone, or as many as were asked for. A gateway that goes away is waited for.
pub(super) async fn run(subscribe: Subscribe, environment: &Environment) -> Result<ExitCode> {
    let target = Pattern::new(&subscribe.event)?;
    let acks = subscribe.ack == Acking::Auto;
    let request = options(&subscribe)?.into_request(target, AckMode::Manual)?;
    let buffer = subscribe.count.unwrap_or(BUFFER).clamp(1, BUFFER);
    let client = connect_with(&subscribe.target, environment, |builder| {
        let builder = builder.subscribe_buffer(buffer as usize).subscribe_max_errors(0);
        builder.close_policy(ClosePolicy::Nack).on_stream_error(interrupted)
    })
    .await?;
    let following = client.follow(request).await?;
    let left = subscribe.count.map_or(u64::MAX, u64::from);
    let written = Reader { following, look: look(&subscribe), acks, left, acking: FuturesUnordered::new() };
    let ended = written.run().await;
    // What came and was not written goes back now, and not when its lease runs out; who is in a hurry says so again.
    tokio::select! {
        _ = client.close() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    ended.map(|()| ExitCode::SUCCESS)
}

fn interrupted(error: &Error) {
    complain(&format!("{}: {error}", error.kind()));
}

/// What is read, and what is said back.
struct Reader {
    following: Following,
    look: Look,
    acks: bool,
    /// How many messages are still to be written.
    left: u64,
    /// The acks that are not answered yet.
    acking: FuturesUnordered<BoxFuture<'static, Result<Vec<SettleAnswer>>>>,
}

impl Reader {
    /// Writes until all is written and every ack of it answered.
    async fn run(mut self) -> Result<()> {
        let mut over = false;
        while !(over || self.left == 0) || !self.acking.is_empty() {
            let next = tokio::select! {
                Some(answers) = self.acking.next() => {
                    tell_refusals(&answers?);
                    continue;
                }
                next = self.following.next(), if !over && self.left > 0 => next,
                _ = tokio::signal::ctrl_c() => return Ok(()),
            };
            match next {
                Some(followed) => self.take(followed?)?,
                None => over = true,
            }
        }
        Ok(())
    }

    fn take(&mut self, followed: Followed) -> Result<()> {
        match followed {
            Followed::Message(received) => {
                self.left -= 1;
                let ack_id = received.ack_id.clone().filter(|_| self.acks);
                print(*received, self.look)?;
                if let Some(ack_id) = ack_id {
                    let entries = vec![SettleRequest { ack_id, action: SettleAction::Ack }];
                    self.acking.push(self.following.settle(entries).boxed());
                }
            }
            Followed::Gap(Gap { missed: Some(missed), .. }) => {
                complain(&format!("{missed} messages can't be had any more"));
            }
            Followed::Gap(_) => complain("some messages can't be had any more"),
        }
        Ok(())
    }
}

fn options(subscribe: &Subscribe) -> Result<SubscribeQuery> {
    let mut options = SubscribeQuery::default();
    match subscribe.from.as_deref() {
        None => {}
        Some(position @ ("beginning" | "latest")) => options.set("start_from", position)?,
        Some(time) if is_time(time) => options.set("start_time", time)?,
        Some(cursor) => options.set("start_after", cursor)?,
    }
    if let Some(group) = &subscribe.group {
        options.set("delivery_mode", "worker_pool")?;
        options.set("worker_group", group)?;
    }
    if let Some(consumer) = &subscribe.consumer {
        options.set("consumer_id", consumer)?;
    }
    for text in &subscribe.options {
        let (name, value) = pair("--option", text)?;
        options.set(name, value)?;
    }
    Ok(options)
}

fn tell_refusals(answers: &[SettleAnswer]) {
    for answer in answers.iter().filter(|answer| answer.status != AckStatus::Acked) {
        let why = answer.message.as_deref().unwrap_or_default();
        complain(&format!("a message was not acked: {} {why}", answer.status.as_str()));
    }
}

/// Whether it is written like `2026-01-02T…`: no cursor is.
fn is_time(text: &str) -> bool {
    let separator = |at, mark: &str| text.get(at..at + 1).is_some_and(|char| char.eq_ignore_ascii_case(mark));
    separator(4, "-") && separator(7, "-") && separator(10, "t")
}

const fn look(subscribe: &Subscribe) -> Look {
    match (subscribe.json, subscribe.raw) {
        (true, _) => Look::Json,
        (_, true) => Look::Raw,
        _ => Look::Plain,
    }
}

fn print(received: Received, look: Look) -> Result<()> {
    let mut bytes = line(received, look).to_vec();
    bytes.push(b'\n');
    let mut out = stdout().lock();
    out.write_all(&bytes).and_then(|()| out.flush()).map_err(|error| local("stdout", error))
}
