//! `busgate sub`: a subscription whose acks ride the same stream.

use std::{
    io::{Write, stdout},
    process::ExitCode,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use busgate_core::{
    AckMode, AckStatus, Error, Gap, Metadata, Pattern, Result, SettleAction, SettleAnswer, SettleRequest,
};
use busgate_wire::{
    convert::{self, ConsumeFrame, Frame, Received},
    json,
    proto::event::v1::ConsumeRequest,
    query::SubscribeQuery,
    status,
};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{
    args::Subscribe,
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
        raw: subscribe.raw,
        acks: !subscribe.no_ack,
        left: subscribe.count.unwrap_or(u64::MAX),
        sent: 0,
        settled: 0,
    };
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
    raw: bool,
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
                print(&received, self.raw)?;
                if let Some(ack_id) = received.ack_id.filter(|_| self.acks) {
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
        Some(place) => match place.strip_prefix("after:") {
            Some(cursor) => options.set("start_after", cursor)?,
            None => {
                options.set("start_from", "timestamp")?;
                options.set("start_time", place)?;
            }
        },
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

/// A message as one line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    event: &'a str,
    id: &'a str,
    cursor: &'a str,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ack_id: Option<&'a str>,
    metadata: &'a Metadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

fn print(received: &Received, raw: bool) -> Result<()> {
    let mut bytes = if raw { received.message.payload.to_vec() } else { line(received) };
    bytes.push(b'\n');
    let mut out = stdout().lock();
    out.write_all(&bytes).and_then(|()| out.flush()).map_err(|error| local("stdout", error))
}

fn line(received: &Received) -> Vec<u8> {
    let message = &received.message;
    let text = std::str::from_utf8(&message.payload).ok();
    let base64 = text.is_none().then(|| STANDARD.encode(&message.payload));
    json::to_bytes(&Line {
        event: received.event.as_str(),
        id: message.id.as_str(),
        cursor: received.cursor.as_str(),
        source: &message.source,
        key: message.key.as_deref(),
        attempt: received.attempt,
        ack_id: received.ack_id.as_deref(),
        metadata: &message.metadata,
        text,
        base64,
    })
    .to_vec()
}
