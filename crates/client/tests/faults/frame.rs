//! HTTP/2 as a relay needs to see it: where each frame begins and ends, and nothing else.

use bytes::{Buf, Bytes, BytesMut};

/// What a client sends before its first frame.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The length of a frame's head.
const HEAD: usize = 9;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// The client's preface, which stands where a first frame would.
    Preface,
    Data,
    Headers,
    Reset,
    Settings,
    Ping,
    GoAway,
    Window,
    Other(u8),
}

/// A whole frame, as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    /// 0 is the connection itself.
    pub(crate) stream: u32,
    pub(crate) bytes: Bytes,
}

/// Finds the frames in what one side of a connection sends.
#[derive(Debug)]
pub(crate) struct Splitter {
    pending: BytesMut,
    preface: bool,
}

impl Splitter {
    /// For what a client sends.
    pub(crate) fn of_client() -> Self {
        Self { pending: BytesMut::new(), preface: true }
    }

    /// For what a server sends.
    pub(crate) fn of_server() -> Self {
        Self { pending: BytesMut::new(), preface: false }
    }

    /// Where what was read goes.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.pending
    }

    /// The next frame that is there as a whole.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        if self.preface {
            if self.pending.len() < PREFACE.len() {
                return None;
            }
            self.preface = false;
            let bytes = self.pending.split_to(PREFACE.len()).freeze();
            assert_eq!(bytes, PREFACE, "this is not HTTP/2");
            return Some(Frame { kind: Kind::Preface, stream: 0, bytes });
        }
        let mut head = self.pending.get(..HEAD)?;
        let length = usize::try_from(head.get_uint(3)).unwrap();
        let kind = Kind::of(head.get_u8());
        _ = head.get_u8();
        let stream = head.get_u32() & 0x7FFF_FFFF;
        if self.pending.len() < HEAD + length {
            return None;
        }
        Some(Frame { kind, stream, bytes: self.pending.split_to(HEAD + length).freeze() })
    }
}

impl Kind {
    const fn of(number: u8) -> Self {
        match number {
            0 => Self::Data,
            1 => Self::Headers,
            3 => Self::Reset,
            4 => Self::Settings,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::Window,
            other => Self::Other(other),
        }
    }
}

/// A frame as it travels, for tests of the relay.
pub(crate) fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, 0]);
    bytes.extend((stream | 0x8000_0000).to_be_bytes());
    bytes.extend(payload);
    bytes
}

#[test]
fn frames_are_found_however_they_are_cut() {
    let frames = [frame(4, 0, &[]), frame(1, 1, b"head"), frame(0, 1, &[7; 300]), frame(8, 0, &[0, 0, 1, 0])];
    let sent = [PREFACE, &frames.concat()].concat();
    for step in [1, 2, 8, 9, 10, 33, sent.len()] {
        let mut splitter = Splitter::of_client();
        let mut found = Vec::new();
        for part in sent.chunks(step) {
            splitter.buffer().extend_from_slice(part);
            found.extend(std::iter::from_fn(|| splitter.next()));
        }
        let kinds: Vec<_> = found.iter().map(|frame| (frame.kind, frame.stream)).collect();
        let wanted =
            [(Kind::Preface, 0), (Kind::Settings, 0), (Kind::Headers, 1), (Kind::Data, 1), (Kind::Window, 0)];
        assert_eq!(kinds, wanted, "in steps of {step}");
        let bytes: Vec<_> = found.iter().flat_map(|frame| frame.bytes.to_vec()).collect();
        assert_eq!(bytes, sent);
    }
}
