//! What a subscriber costs that waits: the server's memory for each, after one message has gone to all.

use std::{io::Read, process::Stdio, thread, time::Duration};

use clap::Args;

use crate::{
    Failure,
    ingest::register,
    load,
    process::Server,
    report::{Table, median},
};

/// How long the message has to reach everyone before the memory is read.
const SETTLE: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many subscribe.
    #[arg(long, default_value_t = 5000)]
    subscribers: usize,
    /// How often the doors are measured in turn.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut table = Table::new(&["door", "subscribers", "KB each"]);
    let doors = ["sse", "websocket"];
    let mut found = doors.map(|_| Vec::new());
    for _ in 0..options.rounds {
        for (door, found) in doors.iter().zip(&mut found) {
            found.push(measure(door, options.subscribers)?);
        }
    }
    for (door, found) in doors.iter().zip(found) {
        let each = format!("{:.1}", median(found));
        table.row(vec![(*door).into(), options.subscribers.to_string(), each]);
    }
    Ok(table.print()?)
}

fn measure(door: &str, subscribers: usize) -> Result<f64, Failure> {
    let server = Server::busgate("memory:")?;
    register(&server)?;
    let before = server.memory()?;
    // So slow a pace that there is one message, the first.
    let mut load = load::command(door, &server, subscribers, SETTLE.as_secs_f64() * 2.0, Some(1e-3))?;
    let mut load = load.stdout(Stdio::piped()).spawn()?;
    let mut output = load.stdout.take().ok_or("the load generator has no output")?;
    // It says so when all have subscribed.
    if output.read(&mut [0; 64])? == 0 {
        return Err("the load generator failed".into());
    }
    thread::sleep(SETTLE);
    let after = server.memory()?;
    if !load.wait()?.success() {
        return Err("the load generator failed".into());
    }
    Ok((after - before) / subscribers as f64 / 1024.0)
}
