//! A session's items as chunks of an event stream, polled by the socket itself.

use std::{convert::Infallible, pin::Pin, time::Duration};

use busgate_core::{End, Gap, Outgoing, Session};
use busgate_wire::{encoding::Encoding, sse};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::doors::request_id::RequestId;

/// How many bytes are gathered in one chunk when more is there already.
const CHUNK: usize = 64 * 1024;

/// A session on its way out.
///
/// Invariant: the session is asked for more only when the socket has taken what it gave before. That is the
/// back-pressure, and what starts the lease clocks.
pub(super) struct Feed {
    session: Session,
    encoding: Encoding,
    heartbeat: Duration,
    /// When the next heartbeat is due, unless something else goes out before.
    alarm: Pin<Box<Sleep>>,
    last: Instant,
    id: RequestId,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Fresh { missed: bool },
    Open,
    Over,
}

impl Feed {
    /// `missed`: the stream begins with a gap, of how much nobody knows.
    pub(super) fn new(
        session: Session,
        encoding: Encoding,
        heartbeat: Duration,
        id: RequestId,
        missed: bool,
    ) -> Self {
        let last = Instant::now();
        let alarm = Box::pin(sleep_until(last + heartbeat));
        Self { session, encoding, heartbeat, alarm, last, id, state: State::Fresh { missed } }
    }

    /// The chunks of the answer's body.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
        stream::unfold(self, |mut feed| async move {
            let chunk = feed.chunk().await?;
            Some((Ok(chunk), feed))
        })
    }

    async fn chunk(&mut self) -> Option<Bytes> {
        match self.state {
            State::Fresh { missed } => {
                self.state = State::Open;
                let preamble = Bytes::from_static(sse::PREAMBLE.as_bytes());
                Some(if missed {
                    [preamble, sse::gap(&Gap { missed: None, cursor: None })].concat().into()
                } else {
                    preamble
                })
            }
            State::Open => {
                let chunk = match self.next_or_alarm().await {
                    Some(outgoing) => self.gather(outgoing),
                    None => Bytes::from_static(sse::HEARTBEAT.as_bytes()),
                };
                self.last = Instant::now();
                Some(chunk).filter(|chunk| !chunk.is_empty())
            }
            State::Over => None,
        }
    }

    /// The next item, or `None` when it is time for a sign of life. The alarm is set anew only when it rings: a busy
    /// stream does not touch the timer.
    async fn next_or_alarm(&mut self) -> Option<Outgoing> {
        loop {
            tokio::select! {
                biased;
                outgoing = self.session.next() => return Some(outgoing),
                () = self.alarm.as_mut() => {
                    let now = Instant::now();
                    let due = self.last + self.heartbeat;
                    let silent = now >= due;
                    self.alarm.as_mut().reset(if silent { now + self.heartbeat } else { due });
                    if silent {
                        return None;
                    }
                }
            }
        }
    }

    /// One chunk of this item and of all that is there already. An item alone is not copied, nor is one that fills a
    /// chunk: its bytes are shared by all subscribers, however many of them do not read.
    fn gather(&mut self, first: Outgoing) -> Bytes {
        let mut whole = self.encode(first);
        let mut chunk = BytesMut::new();
        while self.state == State::Open && whole.len().max(chunk.len()) < CHUNK {
            let Some(outgoing) = self.session.try_next() else { break };
            if chunk.is_empty() {
                chunk.extend_from_slice(&std::mem::take(&mut whole));
            }
            match outgoing {
                Outgoing::Message(outbound) => sse::message(&outbound, self.encoding).put(&mut chunk),
                other => chunk.extend_from_slice(&self.encode(other)),
            }
        }
        if chunk.is_empty() { whole } else { chunk.freeze() }
    }

    fn encode(&mut self, outgoing: Outgoing) -> Bytes {
        match outgoing {
            Outgoing::Message(outbound) => sse::message(&outbound, self.encoding).into_bytes(),
            Outgoing::Gap(gap) => sse::gap(&gap),
            Outgoing::Draining { retry_after } => sse::draining(retry_after),
            Outgoing::End(End::Drained { .. }) => {
                self.state = State::Over;
                Bytes::new()
            }
            Outgoing::End(end) => {
                self.state = State::Over;
                sse::error(&end.error(), self.id.as_str())
            }
        }
    }
}
