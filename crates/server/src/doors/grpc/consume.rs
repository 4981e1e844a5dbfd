//! `Consume`: messages one way, acks and credit the other.

mod reader;

use busgate_core::{Error, ErrorKind, Outgoing, Result, SubscribeRequest};
use busgate_wire::{
    convert::{self, ConsumeFrame},
    proto::event::v1::{ConsumeRequest, ConsumeResponse},
};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::{Request, Status, Streaming};

use self::reader::{Heard, Reader};
use super::{
    call::{Call, unreadable},
    outlet::Outlet,
};

/// How many frames of the client may wait for the stream to answer them.
const HEARD: usize = 1024;

/// The stream of the session that the client's first frames ask for.
///
/// # Errors
/// What is wrong with these frames, and what the gateway answers, before the stream starts.
pub(super) async fn open(
    call: &Call,
    request: Request<Streaming<ConsumeRequest>>,
) -> Result<BoxStream<'static, Result<ConsumeResponse, Status>>> {
    let (caller, mut inbound) = call.open(request)?;
    let opening = tokio::time::timeout(call.app.doors.body_timeout, opening(&mut inbound)).await;
    let late = |_| Error::new(ErrorKind::Timeout, "no subscribe frame came in time");
    let (subscription, credit) = opening.map_err(late)??;
    let session = call.app.gateway.subscribe(&caller, subscription).await?;
    let (hears, heard) = mpsc::channel(HEARD);
    let reader = Reader::new(call.app.gateway.clone(), caller, session.deliveries(), inbound, hears);
    // It ends when the client is done or gone, or the stream below is dropped.
    call.app.tasks.spawn(reader.run());
    let consumer = Consumer { call: call.clone(), outlet: Outlet::new(session), heard, credit };
    let frames = stream::unfold(Some(consumer), |state| async {
        let mut consumer = state?;
        let next = consumer.next().await?;
        let state = next.is_ok().then_some(consumer);
        Some((next, state))
    });
    Ok(frames.boxed())
}

/// The subscription, and the credit that came before it.
async fn opening(inbound: &mut Streaming<ConsumeRequest>) -> Result<(SubscribeRequest, Option<u64>)> {
    let mut credit = None;
    loop {
        let frame = inbound.message().await.map_err(|status| unreadable(&status))?;
        let frame = frame.ok_or_else(|| Error::invalid("the first frame must subscribe"))?;
        match convert::consume(frame)? {
            ConsumeFrame::Subscribe(request) => return Ok((*request, credit)),
            ConsumeFrame::Credit(more) => add(&mut credit, more),
            ConsumeFrame::Settle { .. } => {
                return Err(Error::invalid("there is nothing to settle before subscribing"));
            }
            ConsumeFrame::Leave => {
                return Err(Error::invalid("there is nothing to leave before subscribing"));
            }
        }
    }
}

struct Consumer {
    call: Call,
    outlet: Outlet,
    heard: mpsc::Receiver<Heard>,
    /// How many messages may still be sent, when the client paces.
    credit: Option<u64>,
}

impl Consumer {
    /// The next frame; nothing more when the client is done.
    async fn next(&mut self) -> Option<Result<ConsumeResponse, Status>> {
        loop {
            self.outlet.pause(self.credit == Some(0));
            tokio::select! {
                biased;
                heard = self.heard.recv() => match heard {
                    Some(Heard::Credit(more)) => add(&mut self.credit, more),
                    Some(Heard::Leave) => self.outlet.leave(),
                    Some(Heard::Answer(frame)) => return Some(Ok(self.encoded(*frame))),
                    Some(Heard::Over(Ok(()))) => return None,
                    Some(Heard::Over(Err(error))) => return Some(Err(self.call.status(&error))),
                    None => return Some(Err(self.call.status(&Error::unavailable("the gateway is stopping")))),
                },
                outgoing = self.outlet.next() => return Some(self.frame(outgoing)),
            }
        }
    }

    fn frame(&mut self, outgoing: Outgoing) -> Result<ConsumeResponse, Status> {
        match outgoing {
            Outgoing::Message(outbound) => {
                self.credit = self.credit.map(|credit| credit.saturating_sub(1));
                // At least: to find out exactly costs as much as to write it.
                let ack_id = outbound.ack_id.as_ref().map_or(0, String::len);
                self.outlet.encoded(outbound.envelope.message.payload.len() + ack_id);
                Ok(convert::consume_message(outbound))
            }
            Outgoing::Gap(gap) => Ok(self.encoded(convert::consume_gap(&gap))),
            Outgoing::Draining { retry_after } => Ok(self.encoded(convert::consume_draining(retry_after))),
            Outgoing::End(end) => Err(self.call.status(&end.error())),
        }
    }

    fn encoded(&mut self, frame: ConsumeResponse) -> ConsumeResponse {
        self.outlet.encoded(frame.encoded_len());
        frame
    }
}

fn add(credit: &mut Option<u64>, more: u32) {
    *credit = Some(credit.unwrap_or_default().saturating_add(more.into()));
}
