//! The answer for a connection beyond the bound.

use std::time::Duration;

use busgate_core::{Error, ErrorKind};
use busgate_wire::status;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// How long a refused client may take to read why.
const PATIENCE: Duration = Duration::from_secs(1);

/// Tells the client to come back later, in HTTP/1.1: one that speaks something else sees a closed connection.
pub(super) async fn refuse(mut stream: TcpStream) {
    _ = tokio::time::timeout(PATIENCE, async {
        // An answer before the question would confuse the client.
        let mut rest = [0; 1024];
        if stream.read(&mut rest).await? == 0 {
            return Ok(());
        }
        stream.write_all(&answer()).await?;
        stream.shutdown().await?;
        // Closing with something unread would take the answer back from the client.
        while stream.read(&mut rest).await? > 0 {}
        std::io::Result::Ok(())
    })
    .await;
}

fn answer() -> Vec<u8> {
    let error = Error::new(ErrorKind::Exhausted, "too many connections");
    let response = status::to_http(&error, "connection");
    let mut bytes = format!("HTTP/1.1 {}\r\n", response.status()).into_bytes();
    for (name, value) in response.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    let length = response.body().len();
    bytes.extend_from_slice(format!("content-length: {length}\r\nconnection: close\r\n\r\n").as_bytes());
    bytes.extend_from_slice(response.body());
    bytes
}
