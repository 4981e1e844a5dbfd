//! Benchmarks of busgate, each beside its floor in the same run: quote the ratios, not the absolute figures.

mod brokers;
mod fanout;
mod floor;
mod idle;
mod ingest;
mod load;
mod log;
mod pool;
mod process;
mod report;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What went wrong, for the person who runs a benchmark.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Parser)]
#[command(about = "Benchmarks of busgate, each beside its floor in the same run")]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// POST publishes into the memory transport, beside a bare epoll HTTP server.
    Ingest(ingest::Options),
    /// One publisher to many subscribers, beside one send() per delivery.
    Fanout(fanout::Options),
    /// The memory of subscribers that wait.
    Idle(idle::Options),
    /// The embedded log: append until synced, and replay, beside plain writes and fdatasync.
    Log(log::Options),
    /// A worker pool, publish to ack: in this process, and through the client and a gateway.
    Pool(pool::Options),
    /// Redis, NATS and Kafka, each beside its own client: publish, consume and ack through a gateway.
    Brokers(brokers::Options),
    /// A floor on its own, as the other benchmarks start it.
    #[command(hide = true)]
    Floor(floor::Options),
    /// A load generator on its own, as the other benchmarks start it.
    #[command(hide = true)]
    Load(load::Options),
    /// The load of a worker pool on its own.
    #[command(hide = true)]
    PoolLoad(load::pool::Options),
    /// The load of a broker on its own.
    #[command(hide = true)]
    BrokerLoad(load::broker::Options),
}

fn main() -> ExitCode {
    let done = match Cli::parse().bench {
        Bench::Ingest(options) => ingest::run(&options),
        Bench::Fanout(options) => fanout::run(&options),
        Bench::Idle(options) => idle::run(&options),
        Bench::Log(options) => log::run(&options),
        Bench::Pool(options) => pool::run(&options),
        Bench::Brokers(options) => brokers::run(&options),
        Bench::Floor(options) => floor::run(&options),
        Bench::Load(options) => load::run(&options),
        Bench::PoolLoad(options) => load::pool::run(&options),
        Bench::BrokerLoad(options) => load::broker::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("busgate-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
