//! A worker pool: publish, deliver, ack. In this process, there by the typed bus, and through the client and a gateway, in
//! turn.

use clap::Args;

use crate::{
    Failure,
    ingest::figures,
    load::{self, Sizes},
    process::Server,
    report::{Table, median, thousands},
};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The transports, in this process and behind the gateway; `{dir}` stands for a new folder.
    #[arg(long, value_delimiter = ',', default_value = "memory:,log:{dir}")]
    transports: Vec<String>,
    /// How many messages are under way at once, from publish to answered ack.
    #[arg(long, default_value_t = 256)]
    in_flight: usize,
    /// How many members the group has.
    #[arg(long, default_value_t = 4)]
    members: usize,
    /// How often each is measured in turn.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Payload bytes.
    #[arg(long, default_value_t = 128)]
    payload: usize,
}

/// What one measurement found: messages published, delivered and acked, each with its answer.
struct Found {
    rate: f64,
    /// The gateway's processor time; none in this process, where it can't be told from the load's.
    cpu_micros: Option<f64>,
    p50: f64,
    p99: f64,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let headings =
        ["transport", "where", "acked/s", "gateway µs CPU each", "÷ in process", "p50 µs", "p99 µs"];
    let mut table = Table::new(&headings);
    for transport in &options.transports {
        let (mut within, mut typed, mut through) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            within.push(in_process(transport, false, options)?);
            typed.push(in_process(transport, true, options)?);
            through.push(behind_a_gateway(transport, options)?);
        }
        for (place, found) in
            [("in process", &within), ("in process, typed bus", &typed), ("through the client", &through)]
        {
            let ratios = found.iter().zip(&within).map(|(found, within)| found.rate / within.rate);
            row(&mut table, transport, place, found, median(ratios.collect()));
        }
    }
    Ok(table.print()?)
}

fn sizes(options: &Options) -> Sizes {
    Sizes {
        in_flight: options.in_flight,
        members: options.members,
        seconds: options.seconds,
        payload: options.payload,
    }
}

fn in_process(transport: &str, typed: bool, options: &Options) -> Result<Found, Failure> {
    let data = tempfile::tempdir()?;
    let transport = transport.replace("{dir}", &data.path().join("log").display().to_string());
    let [acked, seconds, p50, p99] = measured(&transport, typed, options)?;
    Ok(Found { rate: acked / seconds, cpu_micros: None, p50, p99 })
}

fn behind_a_gateway(transport: &str, options: &Options) -> Result<Found, Failure> {
    let server = Server::busgate(transport)?;
    let before = server.cpu()?;
    let [acked, seconds, p50, p99] = measured(&format!("http://{}", server.grpc), false, options)?;
    let cpu = (server.cpu()? - before).as_secs_f64();
    Ok(Found { rate: acked / seconds, cpu_micros: Some(cpu * 1e6 / acked), p50, p99 })
}

fn measured(target: &str, typed: bool, options: &Options) -> Result<[f64; 4], Failure> {
    let output = load::pool_command(target, typed, &sizes(options))?.output()?;
    let printed = String::from_utf8(output.stdout)?;
    let found = figures(&printed);
    found.ok_or_else(|| format!("the load failed: {}", String::from_utf8_lossy(&output.stderr)).into())
}

fn row(table: &mut Table, transport: &str, place: &str, found: &[Found], ratio: f64) {
    let middle = |figure: fn(&Found) -> f64| median(found.iter().map(figure).collect());
    let cpu: Vec<f64> = found.iter().filter_map(|found| found.cpu_micros).collect();
    let transport = transport.split_once(':').map_or(transport, |(scheme, _)| scheme);
    table.row(vec![
        transport.into(),
        place.into(),
        thousands(middle(|found| found.rate)),
        if cpu.is_empty() { "–".into() } else { format!("{:.1}", median(cpu)) },
        format!("{ratio:.2}"),
        format!("{:.0}", middle(|found| found.p50)),
        format!("{:.0}", middle(|found| found.p99)),
    ]);
}
