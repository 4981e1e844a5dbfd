//! The smallest servers there can be: what busgate is measured against.

mod fanout;
mod http;

use std::{io::Write, net::TcpListener};

use clap::{Args, ValueEnum};

use crate::Failure;

#[derive(Debug, Args)]
pub(crate) struct Options {
    kind: Kind,
    /// How many subscribers connect before the publisher.
    #[arg(long, default_value_t = 0)]
    subscribers: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// One thread, epoll, a fixed answer to each POST.
    Http,
    /// One thread, the frame encoded once, one send() per delivery.
    Send,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    match options.kind {
        Kind::Http => http::serve(listener),
        Kind::Send => fanout::serve(&listener, options.subscribers),
    }
}
