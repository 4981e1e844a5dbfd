//! A gateway's lease as a token: its ack id, and the stream it came by.

use busgate_core::{Error, EventName, Holder, LeaseToken, Result};
use bytes::{Buf, BufMut, BytesMut};

/// The bytes before the ack id: the check, and the route.
const HEAD_BYTES: usize = 4 + ROUTE_BYTES;

const ROUTE_BYTES: usize = 4 + 4 + 8;

/// By which client and stream a delivery came, and which of that stream's it is. Any client settles any token; the one
/// that got the delivery can use the stream it came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Route {
    /// Which client (a random number of its own).
    pub(crate) client: u32,
    /// Which of its subscriptions.
    pub(crate) stream: u32,
    /// Which delivery of that subscription.
    pub(crate) seq: u64,
}

/// Makes the tokens of one subscription.
#[derive(Clone, Debug)]
pub(crate) struct Sealer {
    event: EventName,
    holder: Holder,
    client: u32,
    stream: u32,
}

impl Sealer {
    pub(crate) const fn new(event: EventName, holder: Holder, client: u32, stream: u32) -> Self {
        Self { event, holder, client, stream }
    }

    /// The token of the delivery `seq`, whose epoch is its attempt: two deliveries with the same one differ in their
    /// ack ids.
    pub(crate) fn seal(&self, seq: u64, attempt: u32, ack_id: &str) -> LeaseToken {
        let epoch = u64::from(attempt);
        let mut route = [0; ROUTE_BYTES];
        let mut head = &mut route[..];
        head.put_u32(self.client);
        head.put_u32(self.stream);
        head.put_u64(seq);
        let mut entry = BytesMut::with_capacity(HEAD_BYTES + ack_id.len());
        entry.put_u32(check(&self.event, &self.holder, epoch, &route, ack_id.len()));
        entry.put_slice(&route);
        entry.put_slice(ack_id.as_bytes());
        LeaseToken { event: self.event.clone(), holder: self.holder.clone(), entry: entry.freeze(), epoch }
    }
}

/// The route in a token.
///
/// # Errors
/// `invalid` when it is none of a gateway's, or when its event, holder or epoch is another than it was made with. The ack
/// id itself is the gateway's to judge.
pub(crate) fn route(token: &LeaseToken) -> Result<Route> {
    let foreign = || Error::invalid("not a lease of this transport");
    let (head, ack_id) = token.entry.split_at_checked(HEAD_BYTES).ok_or_else(foreign)?;
    let (mut written, mut route) = head.split_at_checked(4).ok_or_else(foreign)?;
    let check = check(&token.event, &token.holder, token.epoch, route, ack_id.len());
    if check != written.get_u32() || std::str::from_utf8(ack_id).is_err() {
        return Err(foreign());
    }
    Ok(Route { client: route.get_u32(), stream: route.get_u32(), seq: route.get_u64() })
}

/// The ack id in a token whose route could be read.
pub(crate) fn ack_id(token: &LeaseToken) -> String {
    let ack_id = token.entry.get(HEAD_BYTES..).unwrap_or_default();
    String::from_utf8_lossy(ack_id).into_owned()
}

/// Finds what was altered by mistake (FNV-1a). It is no secret: what was altered on purpose the gateway finds, which signs
/// its ack ids.
fn check(event: &EventName, holder: &Holder, epoch: u64, route: &[u8], ack_id_len: usize) -> u32 {
    let (kind, name) = match holder {
        Holder::Group(name) => (1, name.as_str()),
        Holder::Consumer(name) => (2, name.as_str()),
    };
    let length = u64::try_from(ack_id_len).unwrap_or(u64::MAX);
    let parts: [&[u8]; 6] = [
        event.as_str().as_bytes(),
        &[0, kind],
        name.as_bytes(),
        &epoch.to_be_bytes(),
        route,
        &length.to_be_bytes(),
    ];
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.into_iter().flatten() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let folded = hash ^ (hash >> 32);
    u32::try_from(folded & u64::from(u32::MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use busgate_core::{ConsumerName, ErrorKind, GroupName};
    use proptest::prelude::*;

    use super::*;

    fn sealer() -> Sealer {
        let holder = Holder::Group(GroupName::new("workers").unwrap());
        Sealer::new(EventName::new("orders.created").unwrap(), holder, 7, 3)
    }

    fn refused(token: &LeaseToken) {
        assert_eq!(route(token).unwrap_err().kind(), ErrorKind::Invalid, "{token:?}");
    }

    #[test]
    fn an_altered_token_is_refused() {
        let good = sealer().seal(5, 2, "ack-id");
        let other = |text: &str| EventName::new(text).unwrap();
        refused(&LeaseToken { event: other("orders.deleted"), ..good.clone() });
        refused(&LeaseToken { holder: Holder::Group(GroupName::new("worker").unwrap()), ..good.clone() });
        let consumer = ConsumerName::new("workers").unwrap();
        refused(&LeaseToken { holder: Holder::Consumer(consumer), ..good.clone() });
        for epoch in [0, 1, 3, u64::MAX] {
            refused(&LeaseToken { epoch, ..good.clone() });
        }
        for cut in 0..good.entry.len() {
            refused(&LeaseToken { entry: good.entry.slice(..cut), ..good.clone() });
        }
        assert!(route(&good).is_ok());
    }

    #[test]
    fn the_split_between_event_and_holder_counts() {
        let token = |event: &str, group: &str| {
            let holder = Holder::Group(GroupName::new(group).unwrap());
            Sealer::new(EventName::new(event).unwrap(), holder, 1, 1).seal(1, 1, "a").entry
        };
        assert_ne!(token("ab", "c"), token("a", "bc"));
    }

    proptest! {
        #[test]
        fn a_token_reads_back(seq: u64, attempt in 1u32.., ack_id in "[A-Za-z0-9_-]{1,300}") {
            let token = sealer().seal(seq, attempt, &ack_id);
            prop_assert_eq!(route(&token).unwrap(), Route { client: 7, stream: 3, seq });
            prop_assert_eq!(super::ack_id(&token), ack_id);
        }

        #[test]
        fn no_bytes_make_it_panic(entry: Vec<u8>, epoch: u64) {
            let good = sealer().seal(1, 1, "a");
            refused(&LeaseToken { entry: entry.into(), epoch, ..good });
        }
    }
}
