//! Bytes from a client in, WebSocket messages out (RFC 6455): masked, in fragments, with control frames in between.

use busgate_core::{Error, ErrorKind};
use busgate_wire::status::Close;
use bytes::Bytes;

use super::{
    deflate,
    frame::{COMPRESSED, Opcode},
};

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// A whole text message, checked UTF-8.
    Text(Bytes),
    /// A whole binary message.
    Binary(Bytes),
    /// It wants a pong with the same content.
    Ping(Bytes),
    /// It is there.
    Pong,
    /// It is leaving, with this code.
    Close(Option<u16>),
}

/// What ends a socket at once: after it the stream of frames makes no sense any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Violation {
    /// Against RFC 6455.
    Protocol(&'static str),
    /// Text that is not UTF-8.
    NotText,
    /// Over the limit of a message.
    TooLarge,
}

impl Violation {
    /// The close that answers it.
    pub(super) fn close(self) -> Close {
        match self {
            Self::Protocol(why) => Close { code: 1002, reason: why.to_owned() },
            Self::NotText => Close { code: 1007, reason: "a text message must be utf-8".to_owned() },
            Self::TooLarge => {
                Close::error(&Error::new(ErrorKind::TooLarge, "the message is over the size limit"))
            }
        }
    }
}

const LONGEST_HEADER: usize = 14;
const LONGEST_CONTROL: u64 = 125;

/// How much room a message gets before its bytes are there: a header alone must not cost memory.
const FIRST_ROOM: usize = 16 * 1024;

/// Puts messages together from bytes as they come. Between messages it holds no memory.
#[derive(Debug)]
pub(super) struct Decoder {
    limit: usize,
    /// Whether messages may be compressed.
    inflates: bool,
    header: [u8; LONGEST_HEADER],
    held: usize,
    frame: Option<Frame>,
    /// The data message under way, through all its fragments.
    message: Option<Message>,
    control: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: Opcode,
    last: bool,
    mask: [u8; 4],
    left: usize,
}

#[derive(Debug)]
struct Message {
    text: bool,
    compressed: bool,
    data: Vec<u8>,
}

impl Decoder {
    /// Messages may have up to `limit` bytes, over all their fragments and, if they may be compressed, inflated.
    pub(super) const fn new(limit: usize, inflates: bool) -> Self {
        let header = [0; LONGEST_HEADER];
        Self { limit, inflates, header, held: 0, frame: None, message: None, control: Vec::new() }
    }

    /// Takes from `input` up to the end of the next message; `None` when there is none in it.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Incoming>, Violation> {
        loop {
            let frame = match self.frame {
                Some(frame) => frame,
                None => match self.take_header(input)? {
                    Some(frame) => frame,
                    None => return Ok(None),
                },
            };
            let left = self.take_payload(frame, input);
            if left > 0 {
                self.frame = Some(Frame { left, mask: rotated(frame.mask, frame.left - left), ..frame });
                return Ok(None);
            }
            self.frame = None;
            if let Some(incoming) = self.finish(frame)? {
                return Ok(Some(incoming));
            }
        }
    }

    fn take_header(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, Violation> {
        loop {
            let (needed, header) = (self.needed(), self.header);
            if self.held == needed {
                let frame = self.open(header)?;
                self.held = 0;
                self.frame = Some(frame);
                return Ok(Some(frame));
            }
            let Some((&byte, rest)) = input.split_first() else { return Ok(None) };
            if let Some(place) = self.header.get_mut(self.held) {
                *place = byte;
            }
            self.held += 1;
            *input = rest;
        }
    }

    /// How many bytes the header has, as far as can be told: the second byte says.
    fn needed(&self) -> usize {
        if self.held < 2 {
            return 2;
        }
        let [_, second, ..] = self.header;
        let length = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if second & 0x80 == 0 { 0 } else { 4 }
    }

    fn open(&mut self, header: [u8; LONGEST_HEADER]) -> Result<Frame, Violation> {
        let [first, second, a, b, c, d, e, f, g, h, ..] = header;
        let compressed = first & 0x70 == COMPRESSED && self.inflates;
        if first & 0x70 != 0 && !compressed {
            return Err(Violation::Protocol("reserved bits are set"));
        }
        if second & 0x80 == 0 {
            return Err(Violation::Protocol("frames of a client must be masked"));
        }
        let (length, least, mask_at) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes([a, b])), 126, 4),
            127 => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), 1 << 16, 10),
            short => (u64::from(short), 0, 2),
        };
        if length < least {
            return Err(Violation::Protocol("the length is not written in its shortest form"));
        }
        let mask = header.get(mask_at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(Violation::Protocol("unknown opcode"))?;
        let last = first & 0x80 != 0;
        if compressed && !matches!(opcode, Opcode::Text | Opcode::Binary) {
            return Err(Violation::Protocol("only the first frame of a message says that it is compressed"));
        }
        self.admit(opcode, last, length)?;
        if let Some(message) = &mut self.message {
            message.compressed |= compressed;
        }
        let left = usize::try_from(length).map_err(|_| Violation::TooLarge)?;
        Ok(Frame { opcode, last, mask, left })
    }

    /// Checks a frame against what is under way, and starts a message.
    fn admit(&mut self, opcode: Opcode, last: bool, length: u64) -> Result<(), Violation> {
        match (opcode, &self.message) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => {
                if !last || length > LONGEST_CONTROL {
                    return Err(Violation::Protocol("control frames are short and whole"));
                }
                return Ok(());
            }
            (Opcode::Continuation, None) => return Err(Violation::Protocol("nothing to continue")),
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(Violation::Protocol("the message before is not finished"));
            }
            (Opcode::Continuation, Some(_)) => {}
            (Opcode::Text | Opcode::Binary, None) => {
                self.message =
                    Some(Message { text: opcode == Opcode::Text, compressed: false, data: Vec::new() });
            }
        }
        let data = self.message.as_mut().map(|message| &mut message.data);
        let held = data.as_ref().map_or(0, |data| data.len());
        let room = self.limit.saturating_sub(held);
        let length = usize::try_from(length).ok().filter(|length| *length <= room);
        let length = length.ok_or(Violation::TooLarge)?;
        if let Some(data) = data {
            data.reserve_exact(length.min(FIRST_ROOM));
        }
        Ok(())
    }

    /// Takes what there is of the frame's payload; how much is left to come.
    fn take_payload(&mut self, frame: Frame, input: &mut &[u8]) -> usize {
        let (part, rest) = input.split_at_checked(frame.left).unwrap_or((*input, &[]));
        let into = match (&mut self.message, frame.opcode) {
            (Some(message), Opcode::Text | Opcode::Binary | Opcode::Continuation) => &mut message.data,
            _ => &mut self.control,
        };
        let start = into.len();
        into.extend_from_slice(part);
        unmask(into.get_mut(start..).unwrap_or_default(), frame.mask);
        *input = rest;
        frame.left - part.len()
    }

    fn finish(&mut self, frame: Frame) -> Result<Option<Incoming>, Violation> {
        match frame.opcode {
            Opcode::Ping => Ok(Some(Incoming::Ping(std::mem::take(&mut self.control).into()))),
            Opcode::Pong => {
                self.control = Vec::new();
                Ok(Some(Incoming::Pong))
            }
            Opcode::Close => {
                let code = close_code(&std::mem::take(&mut self.control))?;
                Ok(Some(Incoming::Close(code)))
            }
            Opcode::Text | Opcode::Binary | Opcode::Continuation if !frame.last => Ok(None),
            Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                self.message.take().map(|message| message.finish(self.limit)).transpose()
            }
        }
    }
}

impl Message {
    fn finish(self, limit: usize) -> Result<Incoming, Violation> {
        let data = if self.compressed { deflate::inflate(&self.data, limit)? } else { self.data };
        match self.text {
            true if std::str::from_utf8(&data).is_err() => Err(Violation::NotText),
            true => Ok(Incoming::Text(data.into())),
            false => Ok(Incoming::Binary(data.into())),
        }
    }
}

/// A mask whose first `taken` bytes are used.
const fn rotated(mask: [u8; 4], taken: usize) -> [u8; 4] {
    let bits = 8 * (taken % 4) as u32;
    u32::from_be_bytes(mask).rotate_left(bits).to_be_bytes()
}

fn unmask(data: &mut [u8], mask: [u8; 4]) {
    let (words, rest) = data.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        let empty = payload.is_empty();
        return if empty { Ok(None) } else { Err(Violation::Protocol("half a close code")) };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::Protocol("not a close code"));
    }
    std::str::from_utf8(reason).map(|_| Some(code)).map_err(|_| Violation::NotText)
}

#[cfg(test)]
mod tests;
