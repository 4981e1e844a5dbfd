//! Which message a lease token is about, as bytes.

use busgate_core::{Error, Result};
use bytes::Bytes;

use crate::{
    codec::{Decoder, Encoder},
    store::EventId,
};

/// The registration and the offset of a leased message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) event: EventId,
    pub(crate) offset: u64,
}

impl Entry {
    pub(crate) fn to_bytes(self) -> Bytes {
        let mut out = Encoder::default();
        out.u32(self.event.0).u64(self.offset);
        out.finish().into()
    }

    /// Reads a token's entry.
    ///
    /// # Errors
    /// `invalid` when it is none of ours.
    pub(crate) fn parse(bytes: &Bytes) -> Result<Self> {
        let mut fields = Decoder::new(bytes.clone());
        match (fields.u32(), fields.u64(), fields.rest().is_empty()) {
            (Ok(event), Ok(offset), true) => Ok(Self { event: EventId(event), offset }),
            _ => Err(Error::invalid("the lease token is not one of this transport")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back_and_nothing_else_does() {
        let entry = Entry { event: EventId(3), offset: u64::MAX };
        assert_eq!(Entry::parse(&entry.to_bytes()).unwrap(), entry);
        for bytes in [&b""[..], b"short", b"thirteen bytes"] {
            assert!(Entry::parse(&Bytes::from_static(bytes)).is_err());
        }
    }
}
