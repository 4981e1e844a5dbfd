//! Whether who answered speaks HTTP/2: its first frame must be SETTINGS. Until it came there is no connection.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
};

use crate::connector::Io;

/// The length of a frame's head, and where in it the type stands.
const HEAD: usize = 9;
const TYPE: usize = 3;
const SETTINGS: u8 = 4;

/// A byte stream that listens for the first frame.
pub(super) struct Greeted {
    io: Box<dyn Io>,
    head: Vec<u8>,
    /// Gone when it has told.
    tell: Option<oneshot::Sender<()>>,
}

impl Greeted {
    /// `io`, and what resolves when it was greeted; it fails when the stream ends before.
    pub(super) fn new(io: Box<dyn Io>) -> (Self, oneshot::Receiver<()>) {
        let (tell, greeted) = oneshot::channel();
        (Self { io, head: Vec::new(), tell: Some(tell) }, greeted)
    }

    /// Looks at what was read.
    fn listen(&mut self, read: &[u8]) -> io::Result<()> {
        if self.tell.is_none() {
            return Ok(());
        }
        self.head.extend(read.iter().take(HEAD - self.head.len()));
        match self.head.get(TYPE) {
            Some(&SETTINGS) if self.head.len() == HEAD => {
                // Whoever dialled may have given up.
                _ = self.tell.take().map(|tell| tell.send(()));
                self.head = Vec::new();
                Ok(())
            }
            Some(&SETTINGS) | None => Ok(()),
            Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "it does not speak HTTP/2")),
        }
    }
}

impl AsyncRead for Greeted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        let heard = self.listen(buffer.filled().get(before..).unwrap_or_default());
        if heard.is_err() {
            // A failed read has read nothing.
            buffer.set_filled(before);
        }
        Poll::Ready(heard)
    }
}

impl AsyncWrite for Greeted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// What a reader makes of `bytes`, written one by one.
    async fn hear(bytes: &[u8]) -> (io::Result<Vec<u8>>, bool) {
        let (mut peer, io) = duplex(64);
        let (mut greeted, mut told) = Greeted::new(Box::new(io));
        let write = async {
            for byte in bytes {
                _ = peer.write_u8(*byte).await;
            }
            drop(peer);
        };
        let mut heard = Vec::new();
        let (read, ()) = tokio::join!(greeted.read_to_end(&mut heard), write);
        (read.map(|_| heard), told.try_recv().is_ok())
    }

    #[tokio::test]
    async fn a_settings_frame_is_a_greeting_and_nothing_is_lost_of_it() {
        let bytes = [0, 0, 0, SETTINGS, 0, 0, 0, 0, 0, 7, 7];
        let (heard, greeted) = hear(&bytes).await;
        assert_eq!((heard.unwrap(), greeted), (bytes.to_vec(), true));
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let (heard, greeted) = hear(b"HTTP/1.1 400 Bad Request\r\n").await;
        assert_eq!((heard.unwrap_err().kind(), greeted), (io::ErrorKind::InvalidData, false));
    }

    #[tokio::test]
    async fn half_a_greeting_is_none() {
        let (heard, greeted) = hear(&[0, 0, 0, SETTINGS]).await;
        assert!(heard.is_ok() && !greeted);
    }
}
