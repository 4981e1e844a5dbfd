//! Entries as the scripts pack them: MessagePack, of which they need texts and lists.

use busgate_core::Message;

use super::Fields;
use crate::id::EntryId;

/// What is left of a packed text.
#[derive(Debug)]
pub(crate) struct Packed<'a> {
    rest: &'a [u8],
}

impl<'a> Packed<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The entries that it is; nothing when it is something else.
    pub(crate) fn entries(mut self) -> Option<Vec<(EntryId, Message)>> {
        let count = self.list()?;
        // A count can claim anything; an entry takes more than a byte.
        let mut entries = Vec::with_capacity(count.min(self.rest.len()));
        for _ in 0..count {
            entries.push(self.entry()?);
        }
        Some(entries)
    }

    fn entry(&mut self) -> Option<(EntryId, Message)> {
        if self.list()? != 2 {
            return None;
        }
        let id: EntryId = std::str::from_utf8(self.text()?).ok()?.parse().ok()?;
        let mut fields = Fields::default();
        for _ in 0..self.list()? / 2 {
            let (name, value) = (self.text()?, self.text()?);
            fields.take(name, value);
        }
        Some((id, fields.message(id)))
    }

    /// How many are in the list that begins here.
    fn list(&mut self) -> Option<usize> {
        match self.byte()? {
            short @ 0x90..=0x9f => Some(usize::from(short & 0x0f)),
            0xdc => self.number::<2>(),
            0xdd => self.number::<4>(),
            // An empty table is no list to the packer.
            0x80 => Some(0),
            _ => None,
        }
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = match self.byte()? {
            short @ 0xa0..=0xbf => usize::from(short & 0x1f),
            0xd9 | 0xc4 => self.number::<1>()?,
            0xda | 0xc5 => self.number::<2>()?,
            0xdb | 0xc6 => self.number::<4>()?,
            _ => return None,
        };
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(text)
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn number<const N: usize>(&mut self) -> Option<usize> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap();
        let mut packed = match length {
            0..32 => vec![0xa0 | length as u8],
            32..256 => vec![0xd9, length as u8],
            256..65_536 => [&[0xda], &length.to_be_bytes()[2..]].concat(),
            _ => [&[0xdb], &length.to_be_bytes()[..]].concat(),
        };
        packed.extend_from_slice(bytes);
        packed
    }

    fn entry(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut packed = vec![0x92];
        packed.extend(text(b"7-1"));
        packed.extend([0xdc, 0, fields.len() as u8 * 2]);
        for (name, value) in fields {
            packed.extend(text(name));
            packed.extend(text(value));
        }
        packed
    }

    #[test]
    fn entries_are_read_whatever_their_length() {
        for length in [0, 1, 31, 32, 255, 256, 65_535, 65_536] {
            let payload = vec![7; length];
            let packed = [vec![0x91], entry(&[(b"id", b"m"), (b"payload", &payload)])].concat();
            let entries = Packed::new(&packed).entries().unwrap();
            let [(id, message)] = &entries[..] else { panic!("{entries:?}") };
            assert_eq!(*id, EntryId { ms: 7, seq: 1 });
            assert_eq!((message.id.as_str(), &message.payload[..]), ("m", &payload[..]));
        }
    }

    #[test]
    fn what_is_cut_off_is_nothing() {
        let packed = [vec![0x91], entry(&[(b"id", b"m"), (b"payload", b"body")])].concat();
        for length in 0..packed.len() {
            assert!(Packed::new(&packed[..length]).entries().is_none(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Packed::new(&bytes).entries();
        }
    }
}
