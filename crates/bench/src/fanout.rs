//! One publisher to many subscribers, beside `floor-send`, in turn, round by round.

use std::{
    io::{BufRead, BufReader, Read},
    process::Stdio,
};

use clap::Args;

use crate::{
    Failure,
    ingest::{figures, register},
    load,
    process::Server,
    report::{Table, median, thousands},
};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many subscribe.
    #[arg(long, default_value_t = 1000)]
    subscribers: usize,
    /// How often floor and doors are measured in turn.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// Messages a second of the paced measurement.
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
}

/// What one measurement found.
struct Found {
    rate: f64,
    cpu_micros: f64,
    p50_micros: f64,
    p99_micros: f64,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut table =
        Table::new(&["load", "server", "deliveries/s", "µs CPU each", "CPU ÷ floor", "p50 µs", "p99 µs"]);
    for (load, rate) in [("paced", Some(options.rate)), ("window 8", None)] {
        let doors = ["floor-send", "sse", "websocket"];
        let mut found: Vec<Vec<Found>> = doors.iter().map(|_| Vec::new()).collect();
        for _ in 0..options.rounds {
            for (door, found) in doors.iter().zip(&mut found) {
                found.push(measure(door, options, rate)?);
            }
        }
        let floor: Vec<f64> = found.first().into_iter().flatten().map(|found| found.cpu_micros).collect();
        for (door, found) in doors.iter().zip(&found) {
            let ratios = found.iter().zip(&floor).map(|(found, floor)| found.cpu_micros / floor).collect();
            let middle = |figure: fn(&Found) -> f64| median(found.iter().map(figure).collect());
            table.row(vec![
                load.into(),
                (*door).into(),
                thousands(middle(|found| found.rate)),
                format!("{:.1}", middle(|found| found.cpu_micros)),
                format!("{:.2}", median(ratios)),
                format!("{:.0}", middle(|found| found.p50_micros)),
                format!("{:.0}", middle(|found| found.p99_micros)),
            ]);
        }
    }
    Ok(table.print()?)
}

fn measure(door: &str, options: &Options, rate: Option<f64>) -> Result<Found, Failure> {
    let is_floor = door == "floor-send";
    let server =
        if is_floor { Server::floor("send", options.subscribers)? } else { Server::busgate("memory:")? };
    if !is_floor {
        register(&server)?;
    }
    let kind = if is_floor { "sse" } else { door };
    let mut load = load::command(kind, &server, options.subscribers, options.seconds, rate)?;
    let mut load = load.stdout(Stdio::piped()).spawn()?;
    let mut output = BufReader::new(load.stdout.take().ok_or("the load generator has no output")?);
    // Connecting is not part of the measurement.
    output.read_line(&mut String::new())?;
    let before = server.cpu()?;
    let mut printed = String::new();
    output.read_to_string(&mut printed)?;
    let cpu = server.cpu()? - before;
    load.wait()?;
    let [_, deliveries, seconds, p50_micros, p99_micros] =
        figures(&printed).ok_or("the load generator failed")?;
    Ok(Found {
        rate: deliveries / seconds,
        cpu_micros: cpu.as_secs_f64() * 1e6 / deliveries,
        p50_micros,
        p99_micros,
    })
}
