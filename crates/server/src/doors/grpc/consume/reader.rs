//! What a consuming client says: settled as it comes, whether or not the client reads what the server has to say.

use busgate_core::{
    AckKey, AckStatus, Caller, Deliveries, Error, ErrorKind, Gateway, Result, SettleAction, SettleAnswer,
    SettleRequest,
};
use busgate_wire::{
    convert::{self, ConsumeFrame},
    proto::event::v1::{ConsumeRequest, ConsumeResponse},
};
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use crate::doors::grpc::call::unreadable;

/// How many ack frames may be under way at a time.
const UNDER_WAY: usize = 256;

/// What a client said, as far as its stream has to know.
#[derive(Debug)]
pub(super) enum Heard {
    /// It allows more messages.
    Credit(u32),
    /// It goes, and keeps what it has.
    Leave,
    /// It settled, and this is the answer.
    Answer(Box<ConsumeResponse>),
    /// It will say no more, and every ack of it is answered.
    Over(Result<()>),
}

/// Reads a client's frames.
pub(super) struct Reader {
    gateway: Gateway,
    caller: Caller,
    /// What the client knows by numbers.
    deliveries: Deliveries,
    /// `None` when nothing more is read.
    inbound: Option<Streaming<ConsumeRequest>>,
    hears: mpsc::Sender<Heard>,
    settling: FuturesUnordered<BoxFuture<'static, Result<ConsumeResponse>>>,
    outcome: Result<()>,
}

impl Reader {
    pub(super) fn new(
        gateway: Gateway,
        caller: Caller,
        deliveries: Deliveries,
        inbound: Streaming<ConsumeRequest>,
        hears: mpsc::Sender<Heard>,
    ) -> Self {
        let settling = FuturesUnordered::new();
        Self { gateway, caller, deliveries, inbound: Some(inbound), hears, settling, outcome: Ok(()) }
    }

    /// Reads until the client is done or its stream is gone; what it has settled by then is carried out.
    pub(super) async fn run(mut self) {
        while self.inbound.is_some() || !self.settling.is_empty() {
            let room = self.settling.len() < UNDER_WAY;
            let heard = tokio::select! {
                biased;
                () = self.hears.closed(), if self.inbound.is_some() => {
                    self.inbound = None;
                    None
                }
                Some(answer) = self.settling.next() => self.settled(answer),
                frame = read(self.inbound.as_mut()), if room => self.take(frame),
            };
            if let Some(heard) = heard {
                // Without a stream there is nobody to tell.
                _ = self.hears.send(heard).await;
            }
        }
        _ = self.hears.send(Heard::Over(self.outcome)).await;
    }

    fn take(&mut self, frame: Result<Option<ConsumeRequest>, Status>) -> Option<Heard> {
        match frame.map_err(|status| unreadable(&status)) {
            Ok(None) => self.inbound = None,
            Err(error) => self.fail(error),
            Ok(Some(frame)) => match convert::consume(frame) {
                Ok(ConsumeFrame::Credit(more)) => return Some(Heard::Credit(more)),
                Ok(ConsumeFrame::Leave) => {
                    self.inbound = None;
                    return Some(Heard::Leave);
                }
                Ok(ConsumeFrame::Settle { sequence, entries }) => self.settle(sequence, entries),
                Ok(ConsumeFrame::Subscribe(_)) => {
                    self.fail(Error::invalid("this stream has its subscription"));
                }
                Err(error) => self.fail(error),
            },
        }
        None
    }

    fn settle(&self, sequence: u64, entries: Vec<(AckKey, SettleAction)>) {
        let (gateway, caller) = (self.gateway.clone(), self.caller.clone());
        let deliveries = self.deliveries.clone();
        self.settling.push(Box::pin(async move {
            let (ack_ids, answers) = settle(&gateway, &caller, &deliveries, entries).await?;
            Ok(convert::consume_acked(sequence, ack_ids, answers))
        }));
    }

    fn settled(&mut self, answer: Result<ConsumeResponse>) -> Option<Heard> {
        match answer {
            Ok(answer) => Some(Heard::Answer(Box::new(answer))),
            Err(error) => {
                self.fail(error);
                None
            }
        }
    }

    fn fail(&mut self, error: Error) {
        self.inbound = None;
        if self.outcome.is_ok() {
            self.outcome = Err(error);
        }
    }
}

/// Settles the entries of a frame. Answers their ack ids, empty where they had numbers, and what they became.
async fn settle(
    gateway: &Gateway,
    caller: &Caller,
    deliveries: &Deliveries,
    entries: Vec<(AckKey, SettleAction)>,
) -> Result<(Vec<String>, Vec<SettleAnswer>)> {
    let mut ack_ids = Vec::with_capacity(entries.len());
    let (mut requests, mut numbered) = (Vec::new(), Vec::new());
    for (key, action) in entries {
        match key {
            AckKey::Id(ack_id) => {
                ack_ids.push(Some(ack_id.clone()));
                requests.push(SettleRequest { ack_id, action });
            }
            AckKey::Number(number) => {
                ack_ids.push(None);
                numbered.push((number, action));
            }
        }
    }
    // A frame has mostly one kind.
    let by_id = match requests.len() {
        0 => Vec::new(),
        count => told(gateway.settle(caller, requests).await, count)?,
    };
    let by_number = match numbered.len() {
        0 => Vec::new(),
        count => told(gateway.settle_numbered(caller, deliveries, numbered).await, count)?,
    };
    let (mut by_id, mut by_number) = (by_id.into_iter(), by_number.into_iter());
    let answer = |id: &Option<String>| if id.is_some() { by_id.next() } else { by_number.next() };
    let answers = ack_ids.iter().map_while(answer).collect();
    Ok((ack_ids.into_iter().map(Option::unwrap_or_default).collect(), answers))
}

/// An answer for each of `count` entries.
fn told(answers: Result<Vec<SettleAnswer>>, count: usize) -> Result<Vec<SettleAnswer>> {
    answers.or_else(|error| Ok(vec![refused(error)?; count]))
}

/// What each entry of a frame is told that was refused as a whole; a client that may not settle at all is told by the
/// stream's end.
fn refused(error: Error) -> Result<SettleAnswer> {
    let status = match error.kind() {
        ErrorKind::Invalid | ErrorKind::TooLarge => AckStatus::Invalid,
        kind if kind.is_transient() => AckStatus::Unavailable,
        _ => return Err(error),
    };
    Ok(SettleAnswer { status, message: Some(error.message().to_owned()) })
}

async fn read(inbound: Option<&mut Streaming<ConsumeRequest>>) -> Result<Option<ConsumeRequest>, Status> {
    match inbound {
        Some(inbound) => inbound.message().await,
        None => std::future::pending().await,
    }
}
