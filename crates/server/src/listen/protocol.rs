//! Whether a new connection speaks HTTP/1.1 or HTTP/2, told by its first bytes.

use std::{io, time::Duration};

use tokio::{net::TcpStream, time::Instant};

/// What every HTTP/2 connection begins with.
///
/// Invariant: only a whole one is handed on, for nobody asks a connection that stops within it whether it is still
/// there (`half_a_preface_is_no_protocol`).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How soon a connection that has sent too little is looked at again; each time after twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// The longest of these times: thousands that say too little cost next to nothing.
const LONGEST_PAUSE: Duration = Duration::from_millis(320);

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Looks at the first bytes without taking them. `None` when there are none in time.
pub(super) async fn detect(stream: &TcpStream, patience: Duration) -> io::Result<Option<Protocol>> {
    let deadline = Instant::now() + patience;
    let mut pause = FIRST_PAUSE;
    let mut seen = [0; PREFACE.len()];
    loop {
        let Ok(peeked) = tokio::time::timeout_at(deadline, stream.peek(&mut seen)).await else {
            return Ok(None);
        };
        let seen = seen.get(..peeked?).unwrap_or_default();
        match seen.len() {
            0 => return Ok(None),
            _ if seen == PREFACE => return Ok(Some(Protocol::Http2)),
            _ if PREFACE.starts_with(seen) => {
                tokio::time::sleep_until(deadline.min(Instant::now() + pause)).await;
            }
            _ => return Ok(Some(Protocol::Http1)),
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        pause = LONGEST_PAUSE.min(pause * 2);
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
        assert_eq!(detected(PREFACE).await, Some(Protocol::Http2));
        assert_eq!(detected(b"GET / HTTP/1.1\r\n").await, Some(Protocol::Http1));
        assert_eq!(detected(b"PROPFIND").await, Some(Protocol::Http1));
        assert_eq!(detected(b"").await, None);
    }

    #[tokio::test]
    async fn half_a_preface_is_no_protocol() {
        for half in [&b"P"[..], b"PRI ", b"PRI * HTTP/2.0\r\n\r\n"] {
            assert_eq!(detected(half).await, None);
        }
    }
}
