//! What a consuming client says: settled as it comes, whether or not the client reads what the server has to say.

use busgate_core::{AckStatus, Caller, Error, ErrorKind, Gateway, Result, SettleAnswer, SettleRequest};
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
        inbound: Streaming<ConsumeRequest>,
        hears: mpsc::Sender<Heard>,
    ) -> Self {
        let settling = FuturesUnordered::new();
        Self { gateway, caller, inbound: Some(inbound), hears, settling, outcome: Ok(()) }
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

    fn settle(&self, sequence: u64, entries: Vec<SettleRequest>) {
        let (gateway, caller) = (self.gateway.clone(), self.caller.clone());
        self.settling.push(Box::pin(async move {
            let ids: Vec<_> = entries.iter().map(|entry| entry.ack_id.clone()).collect();
            let answers = match gateway.settle(&caller, entries).await {
                Ok(answers) => answers,
                Err(error) => vec![refused(error)?; ids.len()],
            };
            Ok(convert::consume_acked(sequence, ids, answers))
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
