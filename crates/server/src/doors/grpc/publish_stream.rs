//! `PublishStream`: while some batches are under way, the next gathers. Each has its turn, which keeps a publisher's order.

use std::collections::VecDeque;

use busgate_core::{Error, Next, Receipt, Result, Turn};
use busgate_wire::{
    convert,
    proto::event::v1::{PublishStreamRequest, PublishStreamResponse},
};
use futures_util::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream, FuturesOrdered},
};
use prost::Message as _;
use tonic::{Request, Status, Streaming};

use super::{
    call::{Call, unreadable},
    publish::{self, Incoming, Publisher},
};

/// The most messages of one batch, where the gateway allows as many.
const BATCH_MESSAGES: usize = 1024;

/// The most bytes of one, before its last message.
const BATCH_BYTES: usize = 1024 * 1024;

/// How many batches may be under way: a back end that syncs takes its time, and has work meanwhile.
const UNDER_WAY: usize = 4;

/// The answers to a stream of messages.
///
/// # Errors
/// `unauthenticated`; `invalid` for a bad `x-source`. What is wrong with a message is told in its answer.
pub(super) fn open(
    call: &Call,
    request: Request<Streaming<PublishStreamRequest>>,
) -> Result<BoxStream<'static, Result<PublishStreamResponse, Status>>> {
    let source = publish::source(request.metadata())?;
    let (caller, inbound) = call.open(request)?;
    let pipeline = Pipeline {
        publisher: Publisher::new(&call.app, caller, source),
        call: call.clone(),
        inbound: Some(inbound),
        most: BATCH_MESSAGES.min(call.app.gateway.config().limits.max_batch),
        waiting: Vec::new(),
        waiting_bytes: 0,
        under_way: FuturesOrdered::new(),
        turn: None,
        succeeds: false,
        answers: VecDeque::new(),
        failed: None,
    };
    let answers = stream::unfold(pipeline, |mut pipeline| async {
        let answer = pipeline.next().await?;
        Some((answer, pipeline))
    });
    Ok(answers.boxed())
}

type Answered = Vec<(u64, Result<Receipt>)>;

struct Pipeline {
    publisher: Publisher,
    call: Call,
    /// `None` when nothing more is read.
    inbound: Option<Streaming<PublishStreamRequest>>,
    /// How many messages one batch may have.
    most: usize,
    waiting: Vec<(u64, Incoming)>,
    waiting_bytes: usize,
    under_way: FuturesOrdered<BoxFuture<'static, Answered>>,
    /// When the next batch may start.
    turn: Option<Next>,
    /// Whether the last batch was published: what makes a batch come to nothing is found out one by one, so that no order
    /// is lost where an event is registered on the way.
    succeeds: bool,
    answers: VecDeque<(u64, Result<Receipt>)>,
    /// Why nothing more is read, unless the client was done.
    failed: Option<Error>,
}

impl Pipeline {
    /// The next answer; at the end why it ended, unless the client was done.
    async fn next(&mut self) -> Option<Result<PublishStreamResponse, Status>> {
        loop {
            if let Some((sequence, answer)) = self.answers.pop_front() {
                return Some(Ok(convert::streamed(sequence, &answer)));
            }
            if self.may_start() {
                self.start();
            }
            if self.under_way.is_empty() && self.waiting.is_empty() && self.inbound.is_none() {
                return self.failed.take().map(|error| Err(self.call.status(&error)));
            }
            self.step().await;
        }
    }

    fn may_start(&self) -> bool {
        let most = if self.succeeds { UNDER_WAY } else { 1 };
        !self.waiting.is_empty() && self.turn.is_none() && self.under_way.len() < most
    }

    /// Waits until a batch is done, the next has its turn, a message comes, or the gateway goes away.
    async fn step(&mut self) {
        let room = self.has_room();
        let draining = self.call.app.gateway.draining();
        tokio::select! {
            biased;
            Some(answered) = self.under_way.next() => {
                self.succeeds = answered.iter().any(|(_, answer)| answer.is_ok());
                self.answers.extend(answered);
            }
            () = over(self.turn.as_mut()) => self.turn = None,
            () = draining, if self.inbound.is_some() => {
                self.inbound = None;
                self.failed = Some(Error::unavailable("the gateway is draining"));
            }
            message = read(self.inbound.as_mut()), if room => self.take(message),
        }
    }

    /// Takes a message in, and with it those that have come already.
    fn take(&mut self, message: Result<Option<PublishStreamRequest>, Status>) {
        let mut next = Some(message);
        while let Some(message) = next.take() {
            match message {
                Ok(Some(message)) => {
                    self.waiting_bytes += message.encoded_len();
                    let (sequence, message) = convert::stream_publish(message);
                    // One by one: a burst is over the rate from where it is, and not as a whole.
                    let admitted = message.and_then(|message| self.publisher.admit(1).map(|()| message));
                    self.waiting.push((sequence, admitted));
                }
                Ok(None) => self.inbound = None,
                Err(status) => {
                    self.inbound = None;
                    self.failed = Some(unreadable(&status));
                }
            }
            if self.has_room() {
                next = self.inbound.as_mut().and_then(|inbound| inbound.message().now_or_never());
            }
        }
    }

    fn has_room(&self) -> bool {
        self.waiting.len() < self.most && self.waiting_bytes < BATCH_BYTES
    }

    fn start(&mut self) {
        let (sequences, batch): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting).into_iter().unzip();
        self.waiting_bytes = 0;
        let publisher = self.publisher.clone();
        let (turn, next) = Turn::begin();
        let batch = async move {
            let answers = publisher.publish(batch, turn).await;
            let answers = answers.unwrap_or_else(|error| vec![Err(error); sequences.len()]);
            sequences.into_iter().zip(answers).collect()
        };
        self.under_way.push_back(batch.boxed());
        self.turn = Some(next);
    }
}

async fn over(turn: Option<&mut Next>) {
    match turn {
        Some(turn) => turn.is_mine().await,
        None => std::future::pending().await,
    }
}

async fn read(
    inbound: Option<&mut Streaming<PublishStreamRequest>>,
) -> Result<Option<PublishStreamRequest>, Status> {
    match inbound {
        Some(inbound) => inbound.message().await,
        None => std::future::pending().await,
    }
}
