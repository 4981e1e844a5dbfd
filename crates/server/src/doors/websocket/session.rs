//! The conversation on one socket: what a client says in, frames and work for the gateway out. No socket, no waiting.

mod answer;

use std::{collections::HashSet, time::Duration};

use busgate_core::{End, Error, ErrorKind, Outgoing, Result};
use busgate_wire::{
    encoding::Encoding,
    frame::{BadFrame, ClientFrame, ClientRequest, ErrorFrame, Outcome, ServerFrame},
    status::Close,
};

use super::{
    backlog::{Ask, Backlog, Publish, Settle},
    decoder::{Incoming, Violation},
    dialect::Dialect,
    frame::{Opcode, close_payload},
    outbox::Outbox,
};

/// How many malformed frames are answered before the socket is closed for them.
const MOST_BAD_FRAMES: u8 = 16;

/// How many bytes of answers may wait for a client that does not read before nothing more is read from it.
const MOST_ANSWER_BYTES: usize = 64 * 1024;

/// How many subscriptions one socket may have.
const MOST_SUBSCRIPTIONS: usize = 256;

/// After how many heartbeats without a sign of life a client counts as gone.
const MOST_MISSED: u8 = 2;

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// One subscription, which ends with it.
    One,
    /// Many subscriptions, and publishing.
    Many,
}

/// Where a subscription's messages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// Its name, on a socket that has many.
    pub(super) sub: Option<String>,
    /// How payloads are written.
    pub(super) encoding: Encoding,
}

/// How a conversation ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parting {
    /// With a close frame, when the work that was asked for before is done.
    Close(Close),
    /// Nobody is there any more.
    Gone,
}

/// A conversation.
#[derive(Debug)]
pub(super) struct Session {
    dialect: Dialect,
    purpose: Purpose,
    request_id: Option<Box<str>>,
    /// What is on its way to the client.
    pub(super) outbox: Outbox,
    /// What the client asked for.
    pub(super) backlog: Backlog,
    answer_bytes: usize,
    subs: HashSet<String>,
    bad_frames: u8,
    heard: bool,
    spoke: bool,
    missed: u8,
    draining: bool,
    parting: Option<Parting>,
    /// Whether it sends back what it gets, for judges of the protocol beneath.
    #[cfg(test)]
    pub(super) echoes: bool,
}

impl Session {
    /// A conversation in the words of `dialect`; its client takes compressed messages if it `deflates`.
    pub(super) fn new(
        dialect: Dialect,
        purpose: Purpose,
        deflates: bool,
        request_id: Option<Box<str>>,
    ) -> Self {
        Self {
            dialect,
            purpose,
            request_id,
            outbox: Outbox::new(deflates),
            backlog: Backlog::default(),
            answer_bytes: 0,
            subs: HashSet::new(),
            bad_frames: 0,
            heard: true,
            spoke: true,
            missed: 0,
            draining: false,
            parting: None,
            #[cfg(test)]
            echoes: false,
        }
    }

    /// How the conversation ends, once it does.
    pub(super) const fn parting(&self) -> Option<&Parting> {
        self.parting.as_ref()
    }

    /// Whether more may be read from the client.
    pub(super) fn can_read(&self) -> bool {
        self.parting.is_none() && self.backlog.has_room() && self.answer_bytes < MOST_ANSWER_BYTES
    }

    /// Whether the client knows that the gateway goes away.
    pub(super) const fn is_draining(&self) -> bool {
        self.draining
    }

    /// Everything went out.
    pub(super) fn flushed(&mut self) {
        self.answer_bytes = 0;
    }

    /// The client showed a sign of life.
    pub(super) fn heard(&mut self) {
        self.heard = true;
    }

    /// Takes in a message of the client.
    pub(super) fn take(&mut self, incoming: Incoming) {
        if self.parting.is_some() {
            return;
        }
        #[cfg(test)]
        let Some(incoming) = self.echo(incoming) else { return };
        match incoming {
            Incoming::Text(text) => self.take_frame(self.dialect.read_text(&text)),
            Incoming::Binary(bytes) => self.take_frame(self.dialect.read_binary(&bytes)),
            Incoming::Ping(content) => self.answer_with(Opcode::Pong, content),
            Incoming::Pong => {}
            Incoming::Close(None) => self.part(Close::done()),
            Incoming::Close(Some(code)) => self.part(Close { code, reason: String::new() }),
        }
    }

    /// The client broke the protocol: nothing it sends can be read any more.
    pub(super) fn violated(&mut self, violation: Violation) {
        self.part(violation.close());
    }

    /// The connection broke.
    pub(super) fn lost(&mut self) {
        self.parting.get_or_insert(Parting::Gone);
    }

    /// Time for a sign of life, and to ask for one.
    pub(super) fn tick(&mut self) {
        self.missed = if self.heard { 0 } else { self.missed + 1 };
        if self.missed >= MOST_MISSED {
            return self.lost();
        }
        if self.outbox.is_empty() {
            if !self.spoke {
                self.say(&ServerFrame::Heartbeat);
            }
            self.outbox.push(Opcode::Ping, []);
        }
        (self.heard, self.spoke) = (false, false);
    }

    /// Passes on what a subscription yields; whether it goes on.
    pub(super) fn deliver(&mut self, route: &Route, outgoing: Outgoing) -> bool {
        match outgoing {
            Outgoing::Message(outbound) => {
                self.spoke = true;
                let sub = route.sub.as_deref();
                self.dialect.write_message(&outbound, route.encoding, sub, &mut self.outbox);
            }
            Outgoing::Gap(gap) => self.say(&ServerFrame::Gap { sub: route.sub.clone(), gap }),
            Outgoing::Draining { retry_after } => self.drain(retry_after),
            Outgoing::End(end) => {
                self.end(route, &end);
                return false;
            }
        }
        true
    }

    /// The gateway goes away: tells the client, once.
    pub(super) fn drain(&mut self, retry_after: Duration) {
        if !self.draining {
            self.draining = true;
            self.say(&ServerFrame::Draining { retry_after });
        }
    }

    /// Ends a conversation on a gateway that goes away when nothing is left to do. `busy` is whether a call is under way.
    pub(super) fn rest(&mut self, busy: bool) {
        let waits_for_drain = self.draining && self.purpose == Purpose::Many;
        if waits_for_drain && !busy && self.subs.is_empty() && self.backlog.is_empty() {
            self.part(Close::draining());
        }
    }

    /// Writes the last frame there is.
    pub(super) fn say_goodbye(&mut self, close: &Close) {
        self.outbox.push(Opcode::Close, [close_payload(close)]);
    }

    fn take_frame(&mut self, frame: Result<ClientFrame, BadFrame>) {
        match frame {
            Ok(ClientFrame { reference, request }) => self.take_request(reference, request),
            Err(BadFrame { reference, error }) => {
                self.bad_frames += 1;
                self.refuse(reference, error);
                if self.bad_frames >= MOST_BAD_FRAMES {
                    self.part(Close::error(&Error::invalid("too many malformed frames")));
                }
            }
        }
    }

    fn take_request(&mut self, reference: Option<String>, request: ClientRequest) {
        match (request, self.purpose) {
            (ClientRequest::Settle(entries), _) => {
                self.backlog.push_settle(Settle { reference, entries });
            }
            (ClientRequest::Ping, _) => self.accept(reference, Outcome::Done),
            (_, Purpose::One) => {
                let why = "this socket has one subscription: /v1/ws takes more, and publishes";
                self.refuse(reference, Error::invalid(why));
            }
            (ClientRequest::Subscribe { request, encoding }, Purpose::Many) => {
                match self.admit_sub(reference.as_deref()) {
                    Ok(sub) => self.backlog.push_ask(Ask::Subscribe { sub, request, encoding }),
                    Err(error) => self.refuse(reference, error),
                }
            }
            (ClientRequest::Unsubscribe { sub }, Purpose::Many) => {
                self.backlog.push_ask(Ask::Unsubscribe { reference, sub });
            }
            (ClientRequest::Publish { event, draft }, Purpose::Many) => {
                self.backlog.push_ask(Ask::Publish { event, batch: vec![Publish { reference, draft }] });
            }
        }
    }

    /// The name of a new subscription.
    fn admit_sub(&mut self, reference: Option<&str>) -> Result<String> {
        let sub = reference.ok_or_else(|| Error::invalid("subscribe needs a ref"))?;
        if self.subs.contains(sub) {
            return Err(Error::new(ErrorKind::Exists, "a subscription has this ref already"));
        }
        if self.subs.len() >= MOST_SUBSCRIPTIONS {
            let why = format!("a socket can have {MOST_SUBSCRIPTIONS} subscriptions");
            return Err(Error::new(ErrorKind::Exhausted, why));
        }
        self.subs.insert(sub.to_owned());
        Ok(sub.to_owned())
    }

    /// One subscription ends: the socket with it, if it is all it is for.
    fn end(&mut self, route: &Route, end: &End) {
        if let Some(sub) = &route.sub {
            self.subs.remove(sub);
        }
        if !matches!(end, End::Drained { .. }) {
            self.refuse_with(ErrorFrame { sub: route.sub.clone(), ..ErrorFrame::new(end.error()) });
        }
        match (self.purpose, end) {
            (Purpose::Many, _) => {}
            (Purpose::One, End::Drained { .. }) => self.part(Close::draining()),
            (Purpose::One, End::SlowConsumer) => self.part(Close::slow()),
            (Purpose::One, End::Closed | End::Failed(_)) => self.part(Close::error(&end.error())),
        }
    }

    fn part(&mut self, close: Close) {
        self.parting.get_or_insert(Parting::Close(close));
    }
}

#[cfg(test)]
mod tests;
