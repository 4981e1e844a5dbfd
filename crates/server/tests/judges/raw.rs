//! Sockets without a library: whatever bytes a test likes, and none when it likes that.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// How long anything may take that must come, on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn connect(address: SocketAddr) -> TcpStream {
    let connected = timeout(PATIENCE, TcpStream::connect(address)).await.expect("a connection in time");
    connected.expect("a connection")
}

/// Connects and resets at once.
pub(crate) async fn connect_and_reset(address: SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_zero_linger().expect("a reset instead of an end");
    let stream = timeout(PATIENCE, socket.connect(address)).await.expect("a connection in time");
    drop(stream);
}

/// Sends a request that ends its connection; the whole answer.
pub(crate) async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = connect(address).await;
    stream.write_all(request.as_bytes()).await.expect("a request that is taken");
    String::from_utf8_lossy(&rest(&mut stream).await).into_owned()
}

/// Reads to the end, which must come; a reset is one.
pub(crate) async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an end in time");
    answer
}

/// Reads until `mark` was seen.
pub(crate) async fn until(stream: &mut TcpStream, mark: &str) -> String {
    let mut seen = Vec::new();
    let mut part = [0; 2048];
    while !String::from_utf8_lossy(&seen).contains(mark) {
        let read =
            timeout(PATIENCE, stream.read(&mut part)).await.expect("an answer in time").expect("an answer");
        assert_ne!(read, 0, "it ended after {:?}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&part[..read]);
    }
    String::from_utf8_lossy(&seen).into_owned()
}
