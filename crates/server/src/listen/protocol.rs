//! Whether a new connection speaks HTTP/1.1 or HTTP/2, told by its first bytes.

use std::{io, time::Duration};

use tokio::{net::TcpStream, time::Instant};

/// What every HTTP/2 connection begins with, as far as it takes to tell it from a method.
const PREFACE: &[u8; 4] = b"PRI ";

/// How often a connection that has sent too little is looked at again.
const PAUSE: Duration = Duration::from_millis(5);

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Looks at the first bytes without taking them. `None` when there are none in time.
pub(super) async fn detect(stream: &TcpStream, patience: Duration) -> io::Result<Option<Protocol>> {
    let deadline = Instant::now() + patience;
    let mut seen = [0; PREFACE.len()];
    loop {
        let Ok(peeked) = tokio::time::timeout_at(deadline, stream.peek(&mut seen)).await else {
            return Ok(None);
        };
        let seen = seen.get(..peeked?).unwrap_or_default();
        match seen.len() {
            0 => return Ok(None),
            4 if seen == PREFACE => return Ok(Some(Protocol::Http2)),
            count if count < 4 && PREFACE.starts_with(seen) => tokio::time::sleep(PAUSE).await,
            _ => return Ok(Some(Protocol::Http1)),
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    async fn detected(bytes: &[u8]) -> Option<Protocol> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        client.write_all(bytes).await.unwrap();
        detect(&server, Duration::from_millis(50)).await.unwrap()
    }

    #[tokio::test]
    async fn the_first_bytes_tell() {
        assert_eq!(detected(b"PRI * HTTP/2.0\r\n").await, Some(Protocol::Http2));
        assert_eq!(detected(b"GET / HTTP/1.1\r\n").await, Some(Protocol::Http1));
        assert_eq!(detected(b"PROPFIND").await, Some(Protocol::Http1));
        assert_eq!(detected(b"P").await, None);
        assert_eq!(detected(b"").await, None);
    }
}
