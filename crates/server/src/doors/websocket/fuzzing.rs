//! A conversation without a socket, for whoever tries what bytes can do to it.

use busgate_wire::status::Close;

use super::{
    decoder::Decoder,
    dialect::Dialect,
    pump,
    session::{Parting, Purpose, Session},
};

/// The gateway's side of a WebSocket: bytes in, bytes and work out.
#[derive(Debug)]
pub struct Conversation {
    decoder: Decoder,
    session: Session,
}

impl Conversation {
    /// A conversation in protobuf or JSON, about many subscriptions or one, whose messages may be compressed if it
    /// `deflates` and have up to `limit` bytes.
    #[must_use]
    pub fn new(proto: bool, many: bool, deflates: bool, limit: usize) -> Self {
        let dialect = if proto { Dialect::Proto } else { Dialect::Json };
        let purpose = if many { Purpose::Many } else { Purpose::One };
        let session = Session::new(dialect, purpose, deflates, None);
        Self { decoder: Decoder::new(limit, deflates), session }
    }

    /// Takes in what came from the client.
    pub fn take(&mut self, bytes: &[u8]) {
        pump::decode(&mut self.decoder, &mut self.session, bytes);
    }

    /// What goes out to the client.
    #[must_use]
    pub fn take_answers(&mut self) -> Vec<u8> {
        self.session.outbox.take_all()
    }

    /// What the gateway is to do, each thing in words.
    #[must_use]
    pub fn take_work(&mut self) -> Vec<String> {
        let mut work = Vec::new();
        while let Some(ask) = self.session.backlog.take_ask() {
            work.push(format!("{ask:?}"));
        }
        loop {
            let settles = self.session.backlog.take_settles();
            if settles.is_empty() {
                return work;
            }
            work.push(format!("{settles:?}"));
        }
    }

    /// How the conversation ends, once it does.
    #[must_use]
    pub fn close(&self) -> Option<&Close> {
        match self.session.parting()? {
            Parting::Close(close) => Some(close),
            Parting::Gone => None,
        }
    }
}
