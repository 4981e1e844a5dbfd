//! The ack id: a lease as a signed token that any node can read and nobody can forge.

use std::{fmt, num::NonZeroU64};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::{Buf, BufMut, Bytes};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::{Caller, ConsumerName, Error, EventName, GroupName, Holder, LeaseToken, Result};

/// The least a secret may have, in bytes.
pub const MIN_SECRET_BYTES: usize = 32;

/// What stands for a principal in an ack id: nothing that tells its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnerTag([u8; TAG_BYTES]);

/// Why an ack id is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Forged or malformed.
    Invalid,
    /// Another principal's.
    NotOwner,
}

/// Where a node keeps track of a delivery. Only that node can make sense of it; others go by the claim alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Which node (a random number of its own).
    pub(crate) node: u64,
    /// Which of its streams.
    pub(crate) stream: u64,
    /// Which delivery of that stream.
    pub(crate) seq: u64,
}

impl Slot {
    /// The number a client knows it by: its deliveries are counted from 1.
    pub(crate) const fn number(self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.seq.wrapping_add(1))
    }
}

/// What an ack id says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) slot: Slot,
    pub(crate) claim: Claim,
}

/// What is claimed: a lease of the transport, or a delivery that only the node itself knows of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Any node can settle it.
    Lease(LeaseToken),
    /// Unnamed broadcast: no state in the broker.
    Local { event: EventName, attempt: u32 },
}

impl Claim {
    pub(crate) const fn event(&self) -> &EventName {
        match self {
            Self::Lease(token) => &token.event,
            Self::Local { event, .. } => event,
        }
    }
}

const VERSION: u8 = 1;
const TAG_BYTES: usize = 16;
/// An entry of `MAX_ENTRY_BYTES` with the longest names makes 6086 characters.
const MAX_ACK_ID_BYTES: usize = 6144;

type HmacSha256 = Hmac<Sha256>;

/// What ack ids are signed with. Nodes that share it settle each other's deliveries.
#[derive(Clone)]
pub struct AckSecret(HmacSha256);

impl AckSecret {
    /// A secret of the operator's.
    ///
    /// # Errors
    /// `invalid` when it has fewer than [`MIN_SECRET_BYTES`].
    pub fn new(secret: &[u8]) -> Result<Self> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err(Error::invalid(format!("ack secret must have {MIN_SECRET_BYTES} bytes or more")));
        }
        let key = HmacSha256::new_from_slice(secret).map_err(|_| Error::invalid("ack secret is unusable"))?;
        Ok(Self(key))
    }

    /// A secret that only this process has.
    #[must_use]
    pub fn generate() -> Self {
        let mut secret = [0; 64];
        for part in secret.chunks_mut(16) {
            part.copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        }
        Self(HmacSha256::new(&secret.into()))
    }

    /// What stands for a principal in an ack id.
    pub(crate) fn owner(&self, caller: &Caller) -> OwnerTag {
        let mut text = b"owner:".to_vec();
        text.extend_from_slice(caller.name().as_bytes());
        OwnerTag(self.tag(&text))
    }

    /// Writes a ticket for its owner.
    pub(crate) fn seal(&self, owner: OwnerTag, ticket: &Ticket) -> String {
        let mut body = Vec::with_capacity(160);
        body.put_u8(VERSION);
        body.put_slice(&owner.0);
        ticket.write(&mut body);
        let tag = self.tag(&body);
        body.put_slice(&tag);
        URL_SAFE_NO_PAD.encode(body)
    }

    /// Reads what [`AckSecret::seal`] wrote.
    pub(crate) fn open(&self, owner: OwnerTag, text: &str) -> Result<Ticket, Refusal> {
        if text.len() > MAX_ACK_ID_BYTES {
            return Err(Refusal::Invalid);
        }
        let sealed = URL_SAFE_NO_PAD.decode(text).map_err(|_| Refusal::Invalid)?;
        let (body, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(Refusal::Invalid)?;
        if !bool::from(self.tag(body).ct_eq(tag)) {
            return Err(Refusal::Invalid);
        }
        let (&version, rest) = body.split_first().ok_or(Refusal::Invalid)?;
        let (written_for, rest) = rest.split_first_chunk::<TAG_BYTES>().ok_or(Refusal::Invalid)?;
        if version != VERSION {
            return Err(Refusal::Invalid);
        }
        if *written_for != owner.0 {
            return Err(Refusal::NotOwner);
        }
        Ticket::read(Bytes::copy_from_slice(rest)).ok_or(Refusal::Invalid)
    }

    fn tag(&self, body: &[u8]) -> [u8; TAG_BYTES] {
        let mut mac = self.0.clone();
        mac.update(body);
        let full = mac.finalize().into_bytes();
        let mut tag = [0; TAG_BYTES];
        for (to, from) in tag.iter_mut().zip(full) {
            *to = from;
        }
        tag
    }
}

impl fmt::Debug for AckSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AckSecret(..)")
    }
}

const LOCAL: u8 = 0;
const GROUP: u8 = 1;
const CONSUMER: u8 = 2;

impl Ticket {
    fn write(&self, body: &mut Vec<u8>) {
        body.put_u64(self.slot.node);
        body.put_u64(self.slot.stream);
        body.put_u64(self.slot.seq);
        match &self.claim {
            Claim::Local { event, attempt } => {
                body.put_u8(LOCAL);
                put_text(body, event.as_str());
                body.put_u32(*attempt);
            }
            Claim::Lease(token) => {
                let (kind, holder) = match &token.holder {
                    Holder::Group(name) => (GROUP, name.as_str()),
                    Holder::Consumer(name) => (CONSUMER, name.as_str()),
                };
                body.put_u8(kind);
                put_text(body, token.event.as_str());
                put_text(body, holder);
                body.put_u64(token.epoch);
                body.put_slice(&token.entry);
            }
        }
    }

    fn read(mut body: Bytes) -> Option<Self> {
        let slot = Slot {
            node: body.try_get_u64().ok()?,
            stream: body.try_get_u64().ok()?,
            seq: body.try_get_u64().ok()?,
        };
        let kind = body.try_get_u8().ok()?;
        let event = EventName::new(take_text(&mut body)?).ok()?;
        if kind == LOCAL {
            let attempt = body.try_get_u32().ok()?;
            return Some(Self { slot, claim: Claim::Local { event, attempt } });
        }
        let name = take_text(&mut body)?;
        let holder = match kind {
            GROUP => Holder::Group(GroupName::new(name).ok()?),
            CONSUMER => Holder::Consumer(ConsumerName::new(name).ok()?),
            _ => return None,
        };
        let epoch = body.try_get_u64().ok()?;
        Some(Self { slot, claim: Claim::Lease(LeaseToken { event, holder, entry: body, epoch }) })
    }
}

/// Names have at most 200 bytes, so that one byte holds their length.
fn put_text(body: &mut Vec<u8>, text: &str) {
    body.put_u8(u8::try_from(text.len()).unwrap_or(u8::MAX));
    body.put_slice(text.as_bytes());
}

fn take_text(body: &mut Bytes) -> Option<String> {
    let length = usize::from(body.try_get_u8().ok()?);
    if body.remaining() < length {
        return None;
    }
    String::from_utf8(body.split_to(length).to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{MAX_ENTRY_BYTES, MAX_NAME_BYTES};

    fn ticket(entry: Vec<u8>, epoch: u64) -> Ticket {
        let token = LeaseToken {
            event: EventName::new("orders.created").unwrap(),
            holder: Holder::Group(GroupName::default()),
            entry: entry.into(),
            epoch,
        };
        Ticket { slot: Slot { node: 1, stream: 2, seq: 3 }, claim: Claim::Lease(token) }
    }

    proptest! {
        #[test]
        fn a_ticket_reads_back(entry in proptest::collection::vec(any::<u8>(), 0..256), epoch: u64) {
            let secret = AckSecret::generate();
            let owner = secret.owner(&Caller::principal("shop"));
            let ticket = ticket(entry, epoch);
            prop_assert_eq!(secret.open(owner, &secret.seal(owner, &ticket)), Ok(ticket));
        }

        #[test]
        fn any_changed_character_is_refused(at in 0usize..100, to in "[A-Za-z0-9_-]") {
            let secret = AckSecret::generate();
            let owner = secret.owner(&Caller::anonymous());
            let good = secret.seal(owner, &ticket(vec![7; 9], 1));
            let mut forged = good.clone();
            forged.replace_range(at..=at, &to);
            prop_assume!(forged != good);
            prop_assert_eq!(secret.open(owner, &forged), Err(Refusal::Invalid));
        }

        #[test]
        fn garbage_is_refused_and_never_panics(text in ".{0,300}") {
            let secret = AckSecret::generate();
            prop_assert_eq!(secret.open(secret.owner(&Caller::anonymous()), &text), Err(Refusal::Invalid));
        }
    }

    #[test]
    fn the_longest_entry_makes_an_ack_id_that_is_taken() {
        let secret = AckSecret::generate();
        let owner = secret.owner(&Caller::anonymous());
        let token = LeaseToken {
            event: EventName::new("e".repeat(MAX_NAME_BYTES)).unwrap(),
            holder: Holder::Group(GroupName::new("g".repeat(MAX_NAME_BYTES)).unwrap()),
            entry: vec![1; MAX_ENTRY_BYTES].into(),
            epoch: u64::MAX,
        };
        let ticket = Ticket { claim: Claim::Lease(token), ..ticket(vec![], 1) };
        assert_eq!(secret.open(owner, &secret.seal(owner, &ticket)), Ok(ticket));
    }

    #[test]
    fn another_principals_ticket_is_not_owned() {
        let secret = AckSecret::generate();
        let id = secret.seal(secret.owner(&Caller::principal("a")), &ticket(vec![], 1));
        assert_eq!(secret.open(secret.owner(&Caller::principal("b")), &id), Err(Refusal::NotOwner));
    }

    #[test]
    fn nodes_with_one_secret_read_each_others_tickets() {
        let secret = [9; MIN_SECRET_BYTES];
        let (one, other) = (AckSecret::new(&secret).unwrap(), AckSecret::new(&secret).unwrap());
        let caller = Caller::principal("a");
        let id = one.seal(one.owner(&caller), &ticket(vec![1], 1));
        assert!(other.open(other.owner(&caller), &id).is_ok());
        assert!(AckSecret::generate().open(one.owner(&caller), &id).is_err());
    }

    #[test]
    fn a_short_secret_is_refused() {
        assert!(AckSecret::new(&[0; MIN_SECRET_BYTES - 1]).is_err());
    }
}
