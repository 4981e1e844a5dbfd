//! The load on one broker: publish alone, then consume and ack what was published, then both at once.

mod gate;
mod kafka;
mod nats;
mod redis;

use std::{
    io::Write,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use clap::{Args, ValueEnum};
use futures_util::{
    future::{self, try_join_all},
    pin_mut,
};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, timeout},
};

use super::pool::Sizes;
use crate::{Failure, report::quantile};

/// How long what was published may take to be consumed, as a multiple of the time it took to publish.
const PATIENCE: f64 = 20.0;

/// How a native client is asked for: before the broker's URL.
pub(crate) const NATIVE: &str = "native+";

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// `native+` and the broker's URL for its own client, the URL for the transport in this process, or a gateway's
    /// address.
    target: String,
    /// A name that no other load on this broker has.
    event: String,
    /// How the members ack, unless by the broker's own client, which has a way of its own.
    #[arg(long, default_value = "each")]
    acks: Acks,
    #[command(flatten)]
    sizes: Sizes,
}

/// How members ack what they get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Acks {
    /// Each message for itself, as many at once as come.
    Each,
    /// What came together in one call, then what has come meanwhile.
    Together,
}

impl Acks {
    /// As the command line has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Each => "each",
            Self::Together => "together",
        }
    }
}

/// A way to one event and one worker group: the broker's own client, a transport, a gateway.
#[async_trait]
pub(super) trait Side: Send + Sync {
    /// Publishes one message; answers when it is as durable as it gets.
    async fn publish(&self, payload: Bytes) -> Result<(), Failure>;

    /// One member of the group: acks whatever it gets, and tells of each ack that was answered. Ends when it is dropped.
    async fn work(&self, member: usize, done: &Done) -> Result<(), Failure>;

    /// Leaves nothing on the broker.
    async fn clear(&self) -> Result<(), Failure>;
}

/// What the members have done.
#[derive(Debug)]
pub(super) struct Done {
    started: Instant,
    acked: AtomicUsize,
    more: Notify,
    /// One for each message that may be under way still, from before its publish to its answered ack.
    room: Semaphore,
    /// Since when there are acks.
    first: Mutex<Option<Instant>>,
    micros: Mutex<Vec<u64>>,
}

impl Done {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            acked: AtomicUsize::new(0),
            more: Notify::new(),
            room: Semaphore::new(0),
            first: Mutex::default(),
            micros: Mutex::default(),
        }
    }

    /// A message was acked, and the answer is there.
    pub(super) fn acked(&self, payload: &[u8]) {
        let sent = payload.first_chunk().map_or(0, |stamp| u64::from_le_bytes(*stamp));
        self.micros.lock().push(self.now().saturating_sub(sent));
        self.first.lock().get_or_insert_with(Instant::now);
        self.room.add_permits(1);
        self.acked.fetch_add(1, Ordering::Relaxed);
        self.more.notify_one();
    }

    /// Waits until that many are acked in all.
    async fn all(&self, wanted: usize, patience: Duration) -> Result<(), Failure> {
        let through = async {
            while self.acked.load(Ordering::Relaxed) < wanted {
                self.more.notified().await;
            }
        };
        let late = |_| format!("{:?} of {wanted} messages were acked in {patience:?}", self.acked);
        Ok(timeout(patience, through).await.map_err(late)?)
    }

    /// Lets so many be under way from now on, and forgets the times so far.
    fn begin(&self, room: usize) -> Instant {
        self.room.forget_permits(usize::MAX);
        self.room.add_permits(room);
        self.micros.lock().clear();
        Instant::now()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Prints `published/s consumed/s round/s p50_us p99_us`: the last three with publishers and members at once, the times
/// from before a publish to its answered ack.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let side = open(options).await?;
        let found = Load { side: &*side, sizes: options.sizes }.drive().await;
        side.clear().await?;
        let [published, consumed, round, p50, p99] = found?;
        writeln!(std::io::stdout(), "{published} {consumed} {round} {p50} {p99}")?;
        Ok(())
    })
}

async fn open(options: &Options) -> Result<Box<dyn Side>, Failure> {
    let Options { target, event, acks, sizes } = options;
    let Some(url) = target.strip_prefix(NATIVE) else {
        return Ok(Box::new(gate::Gate::open(target, event, *acks).await?));
    };
    Ok(match url.split_once(':') {
        Some(("redis", _)) => Box::new(redis::Redis::open(url, event).await?),
        Some(("nats", _)) => Box::new(nats::Nats::open(url, event, sizes).await?),
        Some(("kafka", _)) => Box::new(kafka::Kafka::open(url, event, sizes).await?),
        _ => return Err(format!("no native client for {url}").into()),
    })
}

struct Load<'a> {
    side: &'a dyn Side,
    sizes: Sizes,
}

impl Load<'_> {
    async fn drive(self) -> Result<[f64; 5], Failure> {
        let done = Done::new();
        // Nothing consumes yet, so nothing makes room.
        let began = done.begin(Semaphore::MAX_PERMITS);
        let published = self.publish(&done).await?;
        let seconds = began.elapsed().as_secs_f64();
        let patience = Duration::from_secs_f64(seconds.max(1.0) * PATIENCE);
        let measured = async {
            done.all(published, patience).await?;
            // A group takes its time to form, which is not what is measured.
            let began = done.first.lock().unwrap_or(done.started);
            let consumed = published as f64 / began.elapsed().as_secs_f64();

            let began = done.begin(self.sizes.in_flight);
            let more = self.publish(&done).await?;
            done.all(published + more, patience).await?;
            let mut micros = std::mem::take(&mut *done.micros.lock());
            micros.sort_unstable();
            let [p50, p99] = [0.5, 0.99].map(|share| quantile(&micros, share) as f64);
            Ok([published as f64 / seconds, consumed, more as f64 / began.elapsed().as_secs_f64(), p50, p99])
        };
        let members = try_join_all((0..self.sizes.members).map(|member| self.side.work(member, &done)));
        pin_mut!(measured, members);
        match future::select(measured, members).await {
            future::Either::Left((measured, _)) => measured,
            future::Either::Right((failed, _)) => {
                Err(failed.err().unwrap_or_else(|| "the members left".into()))
            }
        }
    }

    /// As many as the time lets through, `in_flight` at once; answers how many.
    async fn publish(&self, done: &Done) -> Result<usize, Failure> {
        let until = Instant::now() + Duration::from_secs_f64(self.sizes.seconds);
        let publisher = async || {
            let mut count = 0;
            let mut payload = vec![b'x'; self.sizes.payload.max(size_of::<u64>())];
            while Instant::now() < until {
                done.room.acquire().await?.forget();
                if let Some(stamp) = payload.first_chunk_mut() {
                    *stamp = done.now().to_le_bytes();
                }
                self.side.publish(Bytes::copy_from_slice(&payload)).await?;
                count += 1;
            }
            Ok::<usize, Failure>(count)
        };
        let counts = try_join_all((0..self.sizes.in_flight).map(|_| publisher())).await?;
        Ok(counts.into_iter().sum())
    }
}
