//! What is on its way to the client: whole frames, shared with other sockets, written as many at once as there are.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use super::frame::{Header, Opcode};

/// How many pieces go out in one write.
const MOST_PIECES: usize = 128;

/// How much room for pieces an idle socket keeps.
const KEPT_ROOM: usize = 4;

/// A part of a frame.
#[derive(Debug)]
enum Piece {
    Header { header: Header, written: usize },
    Payload(Bytes),
}

impl Piece {
    fn left(&self) -> &[u8] {
        match self {
            Self::Header { header, written } => header.as_bytes().get(*written..).unwrap_or_default(),
            Self::Payload(bytes) => bytes,
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Header { written, .. } => *written += count,
            Self::Payload(bytes) => bytes.advance(count),
        }
    }
}

/// Frames in the order they go out. It is empty between writes and then holds next to no memory.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pieces: VecDeque<Piece>,
    bytes: usize,
    deflates: bool,
}

impl Outbox {
    /// An outbox whose client takes compressed messages, or doesn't.
    pub(super) fn new(deflates: bool) -> Self {
        Self { deflates, ..Self::default() }
    }

    /// Whether the client takes compressed messages.
    pub(super) const fn deflates(&self) -> bool {
        self.deflates
    }

    /// Adds a frame around `parts`, which are shared and not copied.
    pub(super) fn push<const N: usize>(&mut self, opcode: Opcode, parts: [Bytes; N]) {
        let length = parts.iter().map(Bytes::len).sum();
        self.push_framed(Header::new(opcode, length), length, parts);
    }

    /// Adds a message whose parts are compressed.
    pub(super) fn push_deflated<const N: usize>(&mut self, opcode: Opcode, parts: [Bytes; N]) {
        let length = parts.iter().map(Bytes::len).sum();
        self.push_framed(Header::compressed(opcode, length), length, parts);
    }

    fn push_framed<const N: usize>(&mut self, header: Header, length: usize, parts: [Bytes; N]) {
        self.bytes += header.as_bytes().len() + length;
        self.pieces.push_back(Piece::Header { header, written: 0 });
        self.pieces.extend(parts.into_iter().filter(|part| !part.is_empty()).map(Piece::Payload));
    }

    /// How many bytes wait.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Writes until nothing waits.
    pub(super) fn poll_write_all<IO: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut IO,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let written = match ready!(self.poll_write(cx, io))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => written,
            };
            self.advance(written);
        }
        self.pieces.shrink_to(KEPT_ROOM);
        Pin::new(io).poll_flush(cx)
    }

    fn poll_write<IO: AsyncWrite + Unpin>(
        &self,
        cx: &mut Context<'_>,
        io: &mut IO,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); MOST_PIECES];
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece.left());
        }
        let slices = slices.get(..self.pieces.len().min(MOST_PIECES)).unwrap_or_default();
        Pin::new(io).poll_write_vectored(cx, slices)
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(first) = self.pieces.front_mut() {
            let left = first.left().len();
            if written < left {
                first.advance(written);
                return;
            }
            written -= left;
            self.pieces.pop_front();
        }
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Outbox {
    /// Takes out everything, as if it was written.
    pub(super) fn take_all(&mut self) -> Vec<u8> {
        self.bytes = 0;
        self.pieces.drain(..).flat_map(|piece| piece.left().to_vec()).collect()
    }
}

#[cfg(test)]
impl Outbox {
    /// Whether these very bytes wait, not a copy.
    pub(super) fn holds(&self, bytes: &Bytes) -> bool {
        self.pieces.iter().any(|piece| piece.left().as_ptr() == bytes.as_ptr())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes at most some bytes a write, and keeps them.
    struct Slow {
        most: usize,
        got: Vec<u8>,
        writes: usize,
    }

    impl AsyncWrite for Slow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let taken = &buf[..buf.len().min(self.most)];
            self.got.extend_from_slice(taken);
            self.writes += 1;
            Poll::Ready(Ok(taken.len()))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
            self.poll_write(cx, &all)
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn write(payloads: &[Vec<u8>], most: usize) -> Slow {
        let mut outbox = Outbox::default();
        for payload in payloads {
            let (first, second) = payload.split_at(payload.len() / 2);
            let parts = [Bytes::copy_from_slice(first), Bytes::copy_from_slice(second)];
            outbox.push(Opcode::Binary, parts);
        }
        let mut io = Slow { most, got: Vec::new(), writes: 0 };
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert_eq!(outbox.bytes(), framed(payloads).len());
        assert!(outbox.poll_write_all(&mut cx, &mut io).is_ready());
        assert!(outbox.is_empty());
        assert_eq!(outbox.bytes(), 0);
        io
    }

    fn framed(payloads: &[Vec<u8>]) -> Vec<u8> {
        let frame = |payload: &Vec<u8>| {
            [Header::new(Opcode::Binary, payload.len()).as_bytes(), payload.as_slice()].concat()
        };
        payloads.iter().flat_map(frame).collect()
    }

    proptest! {
        #[test]
        fn everything_arrives_in_order_whatever_the_socket_takes(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..60),
            most in 1usize..300,
        ) {
            prop_assert_eq!(write(&payloads, most).got, framed(&payloads));
        }
    }

    #[test]
    fn what_waits_goes_out_in_one_write() {
        assert_eq!(write(&vec![vec![1; 100]; MOST_PIECES / 3], usize::MAX).writes, 1);
    }
}
