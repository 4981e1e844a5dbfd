//! The embedded log beside plain writes and fdatasync of the same bytes in the same batches.

use std::{
    fs::File,
    io::Write,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use busgate_core::{EventConfig, EventName, Message, MessageId, ReadRequest, Start, Timestamp, Transport};
use busgate_transports_log::{LogConfig, LogTransport};
use bytes::Bytes;
use clap::Args;
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::{
    Failure,
    report::{Table, median, thousands},
};

/// What a message occupies beside its payload in the floor's file.
const OVERHEAD: usize = 72;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many publishes are under way at once.
    #[arg(long, value_delimiter = ',', default_value = "1,64,500")]
    in_flight: Vec<usize>,
    /// How often floor and log are measured in turn.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Payload bytes.
    #[arg(long, default_value_t = 128)]
    payload: usize,
    /// How many messages are replayed, rounded down to thousands.
    #[arg(long, default_value_t = 300_000)]
    messages: usize,
    /// Where the files are: the disk that is measured.
    #[arg(long, default_value = ".")]
    dir: std::path::PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut table = Table::new(&["what", "in flight", "floor/s", "log/s", "log ÷ floor"]);
    for &in_flight in &options.in_flight {
        let (mut floors, mut logs) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            let dir = tempfile::tempdir_in(&options.dir)?;
            floors.push(floor_append(dir.path(), options, in_flight)?);
            logs.push(runtime.block_on(append(dir.path(), options, in_flight))?);
        }
        add(&mut table, "append, synced", &in_flight.to_string(), floors, logs);
    }
    let (mut floors, mut logs) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let dir = tempfile::tempdir_in(&options.dir)?;
        let (floor, log) = runtime.block_on(replay(dir.path(), options))?;
        floors.push(floor);
        logs.push(log);
    }
    add(&mut table, "replay", "–", floors, logs);
    Ok(table.print()?)
}

fn add(table: &mut Table, what: &str, in_flight: &str, floors: Vec<f64>, logs: Vec<f64>) {
    let ratio = median(logs.iter().zip(&floors).map(|(log, floor)| log / floor).collect());
    let (floor, log) = (thousands(median(floors)), thousands(median(logs)));
    table.row(vec![what.into(), in_flight.into(), floor, log, format!("{ratio:.2}")]);
}

/// Batches of `in_flight` messages, each written at once and synced.
fn floor_append(dir: &Path, options: &Options, in_flight: usize) -> Result<f64, Failure> {
    let mut file = File::create(dir.join("floor"))?;
    let batch = vec![b'x'; (options.payload + OVERHEAD) * in_flight];
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed().as_secs_f64() < options.seconds {
        file.write_all(&batch)?;
        file.sync_data()?;
        count += in_flight;
    }
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

async fn open(dir: &Path) -> Result<(Arc<dyn Transport>, EventName), Failure> {
    let log = LogTransport::open(LogConfig::new(dir.join("log"))).await?;
    let event = EventName::new("bench")?;
    log.register(&event, &EventConfig::default()).await?;
    Ok((log, event))
}

fn message(payload: &Bytes) -> Message {
    let mut message = Message::new(MessageId::generate(), payload.clone());
    message.timestamp = Timestamp::from_millis(1);
    message
}

/// `in_flight` publishers, each with one message under way.
async fn append(dir: &Path, options: &Options, in_flight: usize) -> Result<f64, Failure> {
    let (log, event) = open(dir).await?;
    let payload = Bytes::from(vec![b'x'; options.payload]);
    let count = AtomicU64::new(0);
    let started = Instant::now();
    let until = started + Duration::from_secs_f64(options.seconds);
    let publisher = || async {
        while Instant::now() < until {
            for receipt in log.publish(&event, vec![message(&payload)]).await {
                receipt?;
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok::<_, busgate_core::Error>(())
    };
    join_all((0..in_flight).map(|_| publisher())).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let rate = count.into_inner() as f64 / started.elapsed().as_secs_f64();
    log.close().await?;
    Ok(rate)
}

/// Reads everything back, from the store and as a plain file of the same size.
async fn replay(dir: &Path, options: &Options) -> Result<(f64, f64), Failure> {
    let messages = options.messages.max(1000) / 1000 * 1000;
    let (log, event) = open(dir).await?;
    let payload = Bytes::from(vec![b'x'; options.payload]);
    for _ in 0..messages / 1000 {
        let batch = (0..1000).map(|_| message(&payload)).collect();
        log.publish(&event, batch).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    }
    log.close().await?;
    drop(log);
    let plain = dir.join("plain");
    std::fs::write(&plain, vec![b'x'; (options.payload + OVERHEAD) * messages])?;
    let started = Instant::now();
    let read = std::fs::read(&plain)?.chunks(options.payload + OVERHEAD).map(<[u8]>::to_vec).count();
    let floor = read as f64 / started.elapsed().as_secs_f64();

    let (log, event) = open(dir).await?;
    let started = Instant::now();
    let (mut start, mut count) = (Start::Beginning, 0);
    loop {
        let page = log.read(&event, ReadRequest { start, limit: 1000, max_bytes: 1 << 20 }).await?;
        count += page.messages.len();
        start = Start::After(page.next);
        if page.end {
            break;
        }
    }
    let rate = count as f64 / started.elapsed().as_secs_f64();
    if count != messages {
        return Err(format!("{count} of {messages} messages were replayed").into());
    }
    log.close().await?;
    Ok((floor, rate))
}
