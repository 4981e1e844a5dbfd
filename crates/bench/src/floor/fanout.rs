//! `floor-send`: one thread, the frame encoded once, one `send()` per delivery and nothing else.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

use crate::{Failure, load::http_length};

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

pub(super) fn serve(listener: &TcpListener, subscribers: usize) -> Result<(), Failure> {
    let mut sockets = Vec::with_capacity(subscribers);
    for _ in 0..subscribers {
        let mut socket = accept(listener)?;
        read_request(&mut socket, &mut Vec::new())?;
        socket.write_all(HEAD)?;
        sockets.push(socket);
    }
    let mut publisher = accept(listener)?;
    let mut input = Vec::new();
    while let Some(body) = read_request(&mut publisher, &mut input)? {
        publisher.write_all(ANSWER)?;
        let frame = frame(&body);
        for socket in &mut sockets {
            socket.write_all(&frame)?;
        }
    }
    Ok(())
}

fn accept(listener: &TcpListener) -> Result<TcpStream, Failure> {
    let (socket, _) = listener.accept()?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// What a gateway sends around a payload, in bytes.
fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = b"id: 1.1234567890\nevent: message\ndata: {\"id\":\"01940000-0000-7000-8000-000000000000\",\"source\":\"remote\",\"payload\":\"".to_vec();
    frame.extend_from_slice(body);
    frame.extend_from_slice(b"\",\"timestamp\":\"2026-01-01T00:00:00.000000000Z\",\"event\":\"bench\",\"cursor\":\"1.1234567890\"}\n\n");
    frame
}

/// The body of the next request; `None` at the end.
fn read_request(socket: &mut TcpStream, input: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Failure> {
    let mut chunk = [0; 16 * 1024];
    loop {
        if let Some(length) = http_length(input) {
            let request: Vec<u8> = input.drain(..length).collect();
            let head =
                request.windows(4).position(|window| window == b"\r\n\r\n").map_or(length, |at| at + 4);
            return Ok(Some(request.get(head..).unwrap_or_default().to_vec()));
        }
        let count = socket.read(&mut chunk)?;
        if count == 0 {
            return Ok(None);
        }
        input.extend(chunk.iter().take(count));
    }
}
