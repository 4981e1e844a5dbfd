//! An HTTP server that answers every POST with the same bytes: one thread, epoll, no parsing beyond the length.

use std::{
    collections::HashMap,
    io::{ErrorKind, Read, Write},
    net::TcpListener,
};

use mio::{Events, Interest, Poll, Token, net};

use crate::{Failure, load::http_length};

const LISTENER: Token = Token(0);

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 79\r\n\r\n{\"id\":\"01940000-0000-7000-8000-000000000000\",\"cursor\":\"1.1\",\"duplicate\":false}\n";

pub(super) fn serve(listener: TcpListener) -> Result<(), Failure> {
    listener.set_nonblocking(true)?;
    let mut listener = net::TcpListener::from_std(listener);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(256);
    let mut connections: HashMap<Token, (net::TcpStream, Vec<u8>)> = HashMap::new();
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let token = Token(connections.len() + 1);
                    poll.registry().register(&mut stream, token, Interest::READABLE)?;
                    connections.insert(token, (stream, Vec::new()));
                }
            } else if let Some((stream, input)) = connections.get_mut(&event.token()) {
                answer(stream, input)?;
            }
        }
    }
}

fn answer(stream: &mut net::TcpStream, input: &mut Vec<u8>) -> Result<(), Failure> {
    let mut chunk = [0; 16 * 1024];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => input.extend(chunk.iter().take(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            // The load generator goes without a word.
            Err(_) => return Ok(()),
        }
        if input.len() < chunk.len() {
            break;
        }
    }
    while let Some(length) = http_length(input) {
        input.drain(..length);
        stream.write_all(ANSWER)?;
    }
    Ok(())
}
