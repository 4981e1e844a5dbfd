//! What one node tells the others, as bytes.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};

use crate::{ACK_WAIT_RANGE, ack::Slot};

/// The most notes of one message.
pub(super) const MOST: usize = 1024;

const VERSION: u8 = 1;

/// Three numbers for where, and the extension in milliseconds.
const NOTE_BYTES: usize = 3 * size_of::<u64>() + size_of::<u32>();

/// That a delivery of another node's client was settled, or its lease extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Note {
    pub(in crate::gateway) slot: Slot,
    /// How long the lease runs on; `None` when it is over.
    pub(in crate::gateway) extend: Option<Duration>,
}

impl Note {
    /// Several as one payload.
    pub(super) fn write(notes: &[Self]) -> Bytes {
        let mut payload = Vec::with_capacity(1 + notes.len() * NOTE_BYTES);
        payload.put_u8(VERSION);
        for Self { slot, extend } in notes {
            payload.put_u64(slot.node);
            payload.put_u64(slot.stream);
            payload.put_u64(slot.seq);
            let millis = extend.map_or(0, |extend| extend.as_millis().max(1));
            payload.put_u32(u32::try_from(millis).unwrap_or(u32::MAX));
        }
        payload.into()
    }

    /// Reads what [`Note::write`] wrote; `None` for anything else.
    pub(super) fn read(payload: &Bytes) -> Option<Vec<Self>> {
        let (&version, mut rest) = payload.split_first()?;
        let count = rest.len() / NOTE_BYTES;
        if version != VERSION || rest.len() % NOTE_BYTES != 0 || count > MOST {
            return None;
        }
        let mut note = || {
            let slot = Slot {
                node: rest.try_get_u64().ok()?,
                stream: rest.try_get_u64().ok()?,
                seq: rest.try_get_u64().ok()?,
            };
            let extend = Duration::from_millis(rest.try_get_u32().ok()?.into());
            let is_sound = extend <= ACK_WAIT_RANGE.1;
            is_sound.then_some(Self { slot, extend: (!extend.is_zero()).then_some(extend) })
        };
        (0..count).map(|_| note()).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_note() -> impl Strategy<Value = Note> {
        let longest = u64::try_from(ACK_WAIT_RANGE.1.as_millis()).unwrap();
        (any::<(u64, u64, u64)>(), prop::option::of(1..=longest)).prop_map(|((node, stream, seq), extend)| {
            Note { slot: Slot { node, stream, seq }, extend: extend.map(Duration::from_millis) }
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(notes in prop::collection::vec(any_note(), 0..20)) {
            prop_assert_eq!(Note::read(&Note::write(&notes)), Some(notes));
        }

        #[test]
        fn what_nobody_wrote_is_refused_or_read_and_never_harms(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let bytes = Bytes::from(bytes);
            if let Some(notes) = Note::read(&bytes) {
                prop_assert_eq!(Note::write(&notes), bytes);
            }
        }
    }

    #[test]
    fn more_than_one_message_may_have_is_refused() {
        let note = Note { slot: Slot { node: 1, stream: 2, seq: 3 }, extend: None };
        assert!(Note::read(&Note::write(&vec![note; MOST])).is_some());
        assert_eq!(Note::read(&Note::write(&vec![note; MOST + 1])), None);
    }

    #[test]
    fn an_extension_beyond_all_bounds_is_refused() {
        let slot = Slot { node: 1, stream: 2, seq: 3 };
        let extend = Some(ACK_WAIT_RANGE.1 + Duration::from_millis(1));
        assert_eq!(Note::read(&Note::write(&[Note { slot, extend }])), None);
    }
}
