//! How a byte stream to a gateway is opened: TCP, or a way of the user's own.

use std::{fmt, io, net::SocketAddr, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::sleep,
};

/// How long one address may take before the next one is tried beside it (RFC 8305).
const STAGGER: Duration = Duration::from_millis(250);

/// A byte stream in both directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// Opens byte streams: the seam for Unix sockets, proxies, name services and tests.
#[async_trait]
pub trait Connector: fmt::Debug + Send + Sync + 'static {
    /// A new stream to `host`, without TLS: that comes on top where the URL asks for it.
    ///
    /// # Errors
    /// Whatever keeps it from being opened; the next endpoint is tried then.
    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Io>>;
}

/// TCP. The name is looked up each time, so that a name whose address changes is followed.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpConnector;

#[async_trait]
impl Connector for TcpConnector {
    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Io>> {
        let addresses = lookup_host((host, port)).await?;
        let stream = first(addresses.collect()).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}

/// The first of `addresses` that answers. The next one is dialled when the last has failed, or takes its time.
async fn first(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut dials = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        dials.extend(waiting.next().map(TcpStream::connect));
        tokio::select! {
            dialled = dials.next() => match dialled {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => last = error,
                None => return Err(last),
            },
            () = sleep(STAGGER), if waiting.len() > 0 => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_address_that_refuses_leaves_it_to_the_next() {
        let refuses = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
        let answers = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let stream = first(vec![refuses, answers.local_addr().unwrap()]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), answers.local_addr().unwrap());
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_an_error() {
        assert_eq!(first(Vec::new()).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
