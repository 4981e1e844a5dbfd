//! Bodies: read whole within bounds of size and time, and written without a box where they are whole already.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use busgate_core::{Error, ErrorKind, Result};
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

/// An answer's body.
#[derive(Debug)]
pub(crate) enum Payload {
    /// There is none (any more).
    Empty,
    /// All of it at once.
    Whole(Bytes),
    /// As it comes.
    Stream(axum::body::Body),
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Whole(bytes) }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Self::Stream(stream) = &mut *self {
            return Pin::new(stream).poll_frame(cx);
        }
        match std::mem::replace(&mut *self, Self::Empty) {
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Self::Empty | Self::Stream(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(_) => false,
            Self::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(stream) => stream.size_hint(),
        }
    }
}

/// Reads a request's body: at most `limit` bytes, in at most `patience`.
///
/// # Errors
/// `too_large`, `timeout`, and `invalid` when the client breaks it off.
pub(crate) async fn read<B>(body: B, limit: usize, patience: Duration) -> Result<Bytes>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large(limit));
    }
    let mut reading = pin!(collect(body, limit));
    if let Some(read) = soon(reading.as_mut()).await {
        return read;
    }
    match tokio::time::timeout(patience, reading).await {
        Ok(read) => read,
        Err(_) => Err(Error::new(ErrorKind::Timeout, "the body did not come in time")),
    }
}

/// What `reading` yields now, or after the connection has had one more turn: most bodies came with their head, and take
/// no timer.
async fn soon<F: Future>(mut reading: Pin<&mut F>) -> Option<F::Output> {
    let mut turns = 0;
    poll_fn(|cx| {
        let polled = reading.as_mut().poll(cx);
        turns += 1;
        if polled.is_pending() && turns == 1 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(match polled {
            Poll::Ready(read) => Some(read),
            Poll::Pending => None,
        })
    })
    .await
}

/// A body that comes in one piece is not copied.
async fn collect<B>(mut body: B, limit: usize) -> Result<Bytes>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::invalid("the body broke off").with_source(error))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + rest.len() + data.len() > limit {
            return Err(too_large(limit));
        }
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
        if body.is_end_stream() {
            break;
        }
    }
    if rest.is_empty() {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.unsplit(rest);
    Ok(whole.freeze())
}

fn too_large(limit: usize) -> Error {
    Error::new(ErrorKind::TooLarge, format!("body: over the limit of {limit} bytes"))
}

/// What a service that can't fail says of its errors.
pub(crate) type Never = Infallible;

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::{Full, StreamBody};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn pieces(pieces: &'static [&'static str]) -> impl Body<Data = Bytes, Error = std::io::Error> + Unpin {
        StreamBody::new(stream::iter(
            pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))),
        ))
    }

    #[tokio::test]
    async fn a_body_is_the_sum_of_its_pieces() {
        assert_eq!(read(pieces(&["ab", "", "cd", "e"]), 5, PATIENCE).await.unwrap(), "abcde");
        assert_eq!(read(pieces(&[]), 5, PATIENCE).await.unwrap(), "");
    }

    #[tokio::test]
    async fn one_byte_too_many_is_too_large() {
        assert_eq!(read(pieces(&["ab", "cd"]), 3, PATIENCE).await.unwrap_err().kind(), ErrorKind::TooLarge);
        assert_eq!(read(Full::from("abcd"), 3, PATIENCE).await.unwrap_err().kind(), ErrorKind::TooLarge);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_times_out() {
        let never = StreamBody::new(stream::pending::<Result<Frame<Bytes>, std::io::Error>>());
        assert_eq!(read(never, 3, PATIENCE).await.unwrap_err().kind(), ErrorKind::Timeout);
    }
}
