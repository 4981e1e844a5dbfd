//! `Subscribe`: a session as a stream of messages.

use busgate_core::{Gap, Outgoing, Result};
use busgate_wire::{
    convert,
    proto::event::v1::{Message, SubscribeRequest},
};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use prost::Message as _;
use tonic::{Request, Status};

use super::{call::Call, outlet::Outlet};

/// The messages of the session that `request` asks for, and how it ended.
///
/// # Errors
/// What the gateway answers, before the stream starts.
pub(super) async fn open(
    call: &Call,
    request: Request<SubscribeRequest>,
) -> Result<BoxStream<'static, Result<Message, Status>>> {
    let (caller, request) = call.open(request)?;
    let session = call.app.gateway.subscribe(&caller, convert::subscribe(&request)?).await?;
    let subscriber = Subscriber { call: call.clone(), outlet: Outlet::new(session), gap: None };
    let messages = stream::unfold(Some(subscriber), |state| async {
        let mut subscriber = state?;
        let next = subscriber.next().await;
        let state = next.is_ok().then_some(subscriber);
        Some((next, state))
    });
    Ok(messages.boxed())
}

struct Subscriber {
    call: Call,
    outlet: Outlet,
    /// What the client can't have and was not told of yet: the next message says so.
    gap: Option<Gap>,
}

impl Subscriber {
    async fn next(&mut self) -> Result<Message, Status> {
        loop {
            match self.outlet.next().await {
                Outgoing::Message(outbound) => {
                    let message = convert::message(outbound, self.gap.take().as_ref());
                    self.outlet.encoded(message.encoded_len());
                    return Ok(message);
                }
                Outgoing::Gap(gap) => self.gap = Some(joined(self.gap.take(), gap)),
                // This stream has no frame for it; its end says when to come back.
                Outgoing::Draining { .. } => {}
                Outgoing::End(end) => return Err(self.call.status(&end.error())),
            }
        }
    }
}

/// Two gaps with no message between them, as one.
fn joined(earlier: Option<Gap>, gap: Gap) -> Gap {
    let Some(earlier) = earlier else { return gap };
    let missed = earlier.missed.zip(gap.missed).map(|(a, b)| a + b);
    Gap { missed, ..gap }
}

#[cfg(test)]
mod tests {
    use busgate_core::Cursor;

    use super::*;

    #[test]
    fn gaps_with_nothing_between_them_are_told_as_one() {
        let gap = |missed, cursor| Gap { missed, cursor: Cursor::new(cursor).ok() };
        assert_eq!(joined(None, gap(Some(1), "a")), gap(Some(1), "a"));
        assert_eq!(joined(Some(gap(Some(1), "a")), gap(Some(2), "b")), gap(Some(3), "b"));
        assert_eq!(joined(Some(gap(None, "a")), gap(Some(2), "b")), gap(None, "b"));
    }
}
