//! WebSocket frames as a server writes them: whole, unmasked, header and payload in one piece.

use busgate_wire::status::Close;
use bytes::Bytes;

/// The kinds of frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    /// The opcode with this number.
    pub(super) const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }
}

/// The header of a frame: kept in place, so that a frame around shared bytes costs no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    bytes: [u8; LONGEST_HEADER],
    length: u8,
}

/// The bit of a compressed message's first frame.
pub(super) const COMPRESSED: u8 = 0x40;

/// The longest header a server writes.
const LONGEST_HEADER: usize = 10;

impl Header {
    /// The header of a frame with `length` bytes of payload.
    pub(super) fn new(opcode: Opcode, length: usize) -> Self {
        Self::with_first(0x80 | opcode as u8, length)
    }

    /// The header of a message that is compressed (RSV1, RFC 7692).
    pub(super) fn compressed(opcode: Opcode, length: usize) -> Self {
        Self::with_first(0x80 | COMPRESSED | opcode as u8, length)
    }

    fn with_first(first: u8, length: usize) -> Self {
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ ..=125), _) => Self { bytes: [first, short, 0, 0, 0, 0, 0, 0, 0, 0], length: 2 },
            (_, Ok(medium)) => {
                let [a, b] = medium.to_be_bytes();
                Self { bytes: [first, 126, a, b, 0, 0, 0, 0, 0, 0], length: 4 }
            }
            _ => {
                let [a, b, c, d, e, f, g, h] = (length as u64).to_be_bytes();
                Self { bytes: [first, 127, a, b, c, d, e, f, g, h], length: 10 }
            }
        }
    }

    /// Its bytes.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

/// The payload of a close frame.
pub(super) fn close_payload(close: &Close) -> Bytes {
    let mut payload = close.code.to_be_bytes().to_vec();
    payload.extend_from_slice(close.reason.as_bytes());
    payload.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_the_shortest_length_there_is() {
        let cases: [(usize, &[u8]); 6] = [
            (0, b"\x82\x00"),
            (125, b"\x82\x7d"),
            (126, b"\x82\x7e\x00\x7e"),
            (65535, b"\x82\x7e\xff\xff"),
            (65536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
            (1 << 24, b"\x82\x7f\x00\x00\x00\x00\x01\x00\x00\x00"),
        ];
        for (length, expected) in cases {
            assert_eq!(Header::new(Opcode::Binary, length).as_bytes(), expected);
        }
    }

    #[test]
    fn a_close_has_its_code_first() {
        assert_eq!(close_payload(&Close { code: 1000, reason: "done".into() }), &b"\x03\xe8done"[..]);
    }
}
