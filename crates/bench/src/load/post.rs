//! POST as fast as the answers come, each connection with one request under way.

use std::{
    io::{ErrorKind, Read, Write},
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};
use tokio::time::Instant;

use super::{NEVER_SLEEPS, Options, http_length, publish_request};
use crate::{Failure, report::quantile};

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    sent: Instant,
}

/// Prints `answers seconds p50_us p99_us`.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let request = publish_request(&vec![b'x'; options.payload]);
    let mut poll = Poll::new()?;
    let mut connections = Vec::with_capacity(options.connections);
    for number in 0..options.connections {
        let stream = std::net::TcpStream::connect(options.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
        stream.write_all(&request)?;
        connections.push(Connection { stream, input: Vec::new(), sent: Instant::now() });
    }
    let started = Instant::now();
    let until = started + Duration::from_secs_f64(options.seconds);
    let mut micros = Vec::new();
    let mut events = Events::with_capacity(256);
    while Instant::now() < until {
        poll.poll(&mut events, Some(NEVER_SLEEPS))?;
        for event in &events {
            let Some(connection) = connections.get_mut(event.token().0) else { continue };
            if connection.answered()? {
                let now = Instant::now();
                micros.push(u64::try_from((now - connection.sent).as_micros())?);
                connection.sent = now;
                connection.stream.write_all(&request)?;
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    micros.sort_unstable();
    let (p50, p99) = (quantile(&micros, 0.5), quantile(&micros, 0.99));
    writeln!(std::io::stdout(), "{} {seconds} {p50} {p99}", micros.len())?;
    Ok(())
}

impl Connection {
    /// Whether the answer has come; anything but a success fails the run.
    fn answered(&mut self) -> Result<bool, Failure> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => return Err("the server closed a connection".into()),
            Ok(count) => self.input.extend(chunk.iter().take(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let Some(length) = http_length(&self.input) else { return Ok(false) };
        if !self.input.starts_with(b"HTTP/1.1 200") {
            return Err(String::from_utf8_lossy(&self.input).into_owned().into());
        }
        self.input.drain(..length);
        Ok(true)
    }
}
