//! POST publishes into the memory transport beside a bare epoll HTTP server, in turn, round by round.

use std::process::Command;

use clap::Args;

use crate::{
    Failure, load,
    process::Server,
    report::{Table, median, thousands},
};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many connections publish, one request at a time each.
    #[arg(long, value_delimiter = ',', default_value = "1,64")]
    connections: Vec<usize>,
    /// How often floor and busgate are measured in turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Where busgate publishes to; `{dir}` stands for a new folder.
    #[arg(long, default_value = "memory:")]
    transport: String,
}

/// What one measurement found.
struct Found {
    rate: f64,
    cpu_micros: f64,
    p50: f64,
    p99: f64,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut table = Table::new(&[
        "connections",
        "server",
        "publishes/s",
        "µs CPU each",
        "CPU ÷ floor",
        "p50 µs",
        "p99 µs",
    ]);
    for &connections in &options.connections {
        let (mut floors, mut gates) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            floors.push(measure(&Server::floor("http", 0)?, connections, options.seconds)?);
            let server = Server::busgate(&options.transport)?;
            register(&server)?;
            gates.push(measure(&server, connections, options.seconds)?);
        }
        let ratios =
            gates.iter().zip(&floors).map(|(gate, floor)| gate.cpu_micros / floor.cpu_micros).collect();
        row(&mut table, connections, "floor", &floors, 1.0);
        row(&mut table, connections, "busgate", &gates, median(ratios));
    }
    Ok(table.print()?)
}

fn row(table: &mut Table, connections: usize, name: &str, found: &[Found], ratio: f64) {
    let middle = |figure: fn(&Found) -> f64| median(found.iter().map(figure).collect());
    table.row(vec![
        connections.to_string(),
        name.into(),
        thousands(middle(|found| found.rate)),
        format!("{:.1}", middle(|found| found.cpu_micros)),
        format!("{ratio:.2}"),
        format!("{:.0}", middle(|found| found.p50)),
        format!("{:.0}", middle(|found| found.p99)),
    ]);
}

fn measure(server: &Server, connections: usize, seconds: f64) -> Result<Found, Failure> {
    let mut load = load::command("post", server, connections, seconds, None)?;
    let before = server.cpu()?;
    let output = load.output()?;
    let cpu = server.cpu()? - before;
    let printed = String::from_utf8(output.stdout)?;
    let [answers, seconds, p50, p99] = figures(&printed)
        .ok_or_else(|| format!("the load generator failed: {}", String::from_utf8_lossy(&output.stderr)))?;
    Ok(Found { rate: answers / seconds, cpu_micros: cpu.as_secs_f64() * 1e6 / answers, p50, p99 })
}

/// The numbers of the last line that a load generator printed.
pub(crate) fn figures<const N: usize>(printed: &str) -> Option<[f64; N]> {
    let numbers: Vec<f64> =
        printed.lines().last()?.split(' ').filter_map(|number| number.parse().ok()).collect();
    numbers.try_into().ok()
}

/// Makes the event of the benchmarks known.
pub(crate) fn register(server: &Server) -> Result<(), Failure> {
    let url = format!("http://{}/v1/events/bench", server.address);
    let done = Command::new("curl").args(["-sf", "-o", "/dev/null", "-X", "POST", &url]).status()?;
    if done.success() { Ok(()) } else { Err("could not register the event of the benchmarks".into()) }
}
