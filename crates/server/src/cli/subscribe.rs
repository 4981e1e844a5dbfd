//! `busgate sub`: a subscription whose acks ride the same stream.

mod line;

use std::{
    io::{Write, stdout},
    process::ExitCode,
};

use busgate_core::{
    AckMode, AckStatus, Error, Gap, Pattern, Result, SettleAction, SettleAnswer, SettleRequest,
};
use busgate_wire::{
    convert::{self, ConsumeFrame, Frame, Received},
    proto::event::v1::ConsumeRequest,
    query::SubscribeQuery,
    status,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use self::line::{Look, line};
use super::{
    args::{Acking, Subscribe},
    client::{answer, connect, local, pair},
    complain,
};
use crate::config::Environment;

/// How many frames of ours wait for the connection.
const OUTGOING: usize = 64;

/// Writes messages until the stream ends, or as many as were asked for.
pub(super) async fn run(subscribe: Subscribe, environment: &Environment) -> Result<ExitCode> {
    let target = Pattern::new(&subscribe.event)?;
    let request = options(&subscribe)?.into_request(target, AckMode::Manual)?;
    let mut client = connect(&subscribe.target, environment).await?;
    let (frames, outgoing) = mpsc::channel(OUTGOING);
    let mut reader = Reader {
        frames,
        look: look(&subscribe),
        acks: subscribe.ack == Acking::Auto,
        left: subscribe.count.map_or(u64::MAX, u64::from),
        sent: 0,
        settled: 0,
    };
    if let Some(count) = subscribe.count {
        reader.send(ConsumeFrame::Credit(count)).await?;
    }
    reader.send(ConsumeFrame::Subscribe(Box::new(request))).await?;
    let mut incoming = answer(client.consume(ReceiverStream::new(outgoing)).await)?;
    while !reader.is_done() {
        let next = tokio::select! {
            next = incoming.message() => next.map_err(|status| status::from_grpc(&status))?,
            _ = tokio::signal::ctrl_c() => break,
        };
        let Some(response) = next else { break };
        if let Some(frame) = convert::read_consumed(response)? {
            reader.take(frame).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What is read, and what is said back.
struct Reader {
    frames: mpsc::Sender<ConsumeRequest>,
    look: Look,
    acks: bool,
    /// How many messages are still to be written.
    left: u64,
    /// How many acks went out, and how many were answered.
    sent: u64,
    settled: u64,
}

impl Reader {
    /// Whether all is written, and every ack of it answered.
    const fn is_done(&self) -> bool {
        self.left == 0 && self.settled == self.sent
    }

    async fn take(&mut self, frame: Frame) -> Result<()> {
        match frame {
            Frame::Message(received) if self.left > 0 => {
                self.left -= 1;
                let ack_id = received.ack_id.clone().filter(|_| self.acks);
                print(*received, self.look)?;
                if let Some(ack_id) = ack_id {
                    self.sent += 1;
                    let entries = vec![SettleRequest { ack_id, action: SettleAction::Ack }];
                    self.send(ConsumeFrame::Settle { sequence: self.sent, entries }).await?;
                }
            }
            Frame::Message(_) => {}
            Frame::Settled { answers, .. } => {
                self.settled += 1;
                tell_refusals(&answers);
            }
            Frame::Gap(Gap { missed: Some(missed), .. }) => {
                complain(&format!("{missed} messages can't be had any more"));
            }
            Frame::Gap(_) => complain("some messages can't be had any more"),
            Frame::Draining { .. } => complain("the gateway is draining"),
        }
        Ok(())
    }

    async fn send(&self, frame: ConsumeFrame) -> Result<()> {
        let gone = |_| Error::unavailable("the connection is gone");
        self.frames.send(convert::consume_frame(frame)).await.map_err(gone)
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

fn tell_refusals(answers: &[(String, SettleAnswer)]) {
    for (ack_id, answer) in answers {
        if answer.status != AckStatus::Acked {
            complain(&format!("{ack_id}: {}", answer.status.as_str()));
        }
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
