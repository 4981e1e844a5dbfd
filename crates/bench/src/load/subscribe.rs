//! Many subscribers and one publisher in one thread; every delivery is counted, and none may be lost, doubled or late
//! without being seen.

use std::{
    io::{ErrorKind, Read, Write},
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};
use tokio::time::Instant;

use super::{NEVER_SLEEPS, Options, http_length, publish_request};
use crate::{Failure, report::quantile};

/// How a door is asked for a subscription.
pub(super) const SSE: &str = "GET /v1/events/bench/stream?encoding=text HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
pub(super) const WEBSOCKET: &str = "GET /v1/events/bench/subscribe?encoding=text&ack=auto HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// How many messages may be under way in a saturated run.
const WINDOW: usize = 8;

/// A message's number stands between two of these, in eight digits.
const MARK: u8 = b'@';
const DIGITS: usize = 8;

struct Subscriber {
    stream: TcpStream,
    tail: Vec<u8>,
    next: usize,
}

impl Subscriber {
    /// The numbers of the messages that came, which must be the next ones: none lost, none twice, none out of order.
    fn take_numbers(&mut self) -> Result<Vec<usize>, Failure> {
        let mut numbers = Vec::new();
        while let Some((message, length)) = first_mark(&self.tail) {
            self.tail.drain(..length);
            if message != self.next {
                return Err(format!("message {message} came where {} was due", self.next).into());
            }
            self.next += 1;
            numbers.push(message);
        }
        Ok(numbers)
    }
}

struct Run {
    poll: Poll,
    subscribers: Vec<Subscriber>,
    publisher: TcpStream,
    answers: Vec<u8>,
    /// When each message was meant to be sent.
    intended: Vec<Instant>,
    /// How many deliveries each message has had.
    delivered: Vec<usize>,
    micros: Vec<u64>,
    complete: usize,
}

/// Prints `messages deliveries seconds p50_us p99_us` once every delivery has arrived.
pub(super) fn run(options: &Options, subscribe: &str) -> Result<(), Failure> {
    let mut run = Run::connect(options, subscribe)?;
    writeln!(std::io::stdout(), "ready")?;
    let started = Instant::now();
    let until = started + Duration::from_secs_f64(options.seconds);
    let mut events = Events::with_capacity(1024);
    loop {
        let now = Instant::now();
        let sent = run.intended.len();
        if now >= until && run.complete == sent {
            break;
        }
        if now > until + Duration::from_secs(30) {
            return Err(format!("{} of {sent} messages reached everyone", run.complete).into());
        }
        let due = options.rate.map(|rate| started + Duration::from_secs_f64(sent as f64 / rate));
        let may_send = now < until && due.map_or(sent - run.complete < WINDOW, |due| now >= due);
        if may_send {
            run.publish(due.unwrap_or(now), options.payload)?;
            continue;
        }
        run.poll.poll(&mut events, Some(NEVER_SLEEPS))?;
        for event in &events {
            run.receive(event.token().0)?;
        }
    }
    run.micros.sort_unstable();
    let (p50, p99) = (quantile(&run.micros, 0.5), quantile(&run.micros, 0.99));
    let seconds = started.elapsed().as_secs_f64();
    writeln!(std::io::stdout(), "{} {} {seconds} {p50} {p99}", run.intended.len(), run.micros.len())?;
    Ok(())
}

impl Run {
    fn connect(options: &Options, subscribe: &str) -> Result<Self, Failure> {
        let poll = Poll::new()?;
        let mut subscribers = Vec::with_capacity(options.connections);
        for number in 0..options.connections {
            let mut stream = std::net::TcpStream::connect(options.address)?;
            stream.write_all(subscribe.as_bytes())?;
            let tail = read_head(&mut stream)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
            subscribers.push(Subscriber { stream, tail, next: 0 });
        }
        let publisher = std::net::TcpStream::connect(options.address)?;
        publisher.set_nodelay(true)?;
        publisher.set_nonblocking(true)?;
        let mut publisher = TcpStream::from_std(publisher);
        poll.registry().register(&mut publisher, Token(options.connections), Interest::READABLE)?;
        let (answers, intended, delivered, micros) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Ok(Self { poll, subscribers, publisher, answers, intended, delivered, micros, complete: 0 })
    }

    fn publish(&mut self, intended: Instant, payload: usize) -> Result<(), Failure> {
        let mut body = format!("@{:0width$}@", self.intended.len(), width = DIGITS).into_bytes();
        body.resize(payload.max(body.len()), b'x');
        self.publisher.write_all(&publish_request(&body))?;
        self.intended.push(intended);
        self.delivered.push(0);
        Ok(())
    }

    fn receive(&mut self, number: usize) -> Result<(), Failure> {
        let Some(subscriber) = self.subscribers.get_mut(number) else { return self.read_answers() };
        let mut chunk = [0; 64 * 1024];
        let count = match subscriber.stream.read(&mut chunk) {
            Ok(0) => return Err("the server closed a subscription".into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let now = Instant::now();
        subscriber.tail.extend(chunk.iter().take(count));
        for message in subscriber.take_numbers()? {
            self.delivered(message, now)?;
        }
        Ok(())
    }

    fn delivered(&mut self, message: usize, now: Instant) -> Result<(), Failure> {
        let (Some(intended), Some(delivered)) = (self.intended.get(message), self.delivered.get_mut(message))
        else {
            return Err(format!("message {message} was never sent").into());
        };
        self.micros.push(u64::try_from((now - *intended).as_micros())?);
        *delivered += 1;
        if *delivered == self.subscribers.len() {
            self.complete += 1;
        }
        Ok(())
    }

    fn read_answers(&mut self) -> Result<(), Failure> {
        let mut chunk = [0; 16 * 1024];
        match self.publisher.read(&mut chunk) {
            Ok(count) => self.answers.extend(chunk.iter().take(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        while let Some(length) = http_length(&self.answers) {
            if !self.answers.starts_with(b"HTTP/1.1 200") {
                return Err(String::from_utf8_lossy(&self.answers).into_owned().into());
            }
            self.answers.drain(..length);
        }
        Ok(())
    }
}

/// Reads to the end of the answer's head; what comes after it is kept.
fn read_head(stream: &mut std::net::TcpStream) -> Result<Vec<u8>, Failure> {
    let mut input = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(at) = input.windows(4).position(|window| window == b"\r\n\r\n") {
            if !(input.starts_with(b"HTTP/1.1 200") || input.starts_with(b"HTTP/1.1 101")) {
                return Err(String::from_utf8_lossy(&input).into_owned().into());
            }
            input.drain(..at + 4);
            return Ok(input);
        }
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Err("the server closed a subscription at once".into());
        }
        input.extend(chunk.iter().take(count));
    }
}

/// The first message number in `bytes`, and how far it reaches.
fn first_mark(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|byte| *byte == MARK)?;
        let digits = bytes.get(at + 1..at + 1 + DIGITS)?;
        if digits.iter().all(u8::is_ascii_digit) && bytes.get(at + 1 + DIGITS) == Some(&MARK) {
            let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
            return Some((number, at + 2 + DIGITS));
        }
        from = at + 1;
    }
}
