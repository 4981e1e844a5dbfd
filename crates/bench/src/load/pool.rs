//! Publishers and the members of one worker group over any transport: as many messages as come to be acked.

mod typed;

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use busgate_client::RemoteTransport;
use busgate_core::{
    Delivery, EventConfig, EventName, GroupName, Item, Message, MessageId, Settled, Start, SubscribeOptions,
    Timestamp, Transport,
};
use busgate_transports_kafka::KafkaTransport;
use busgate_transports_log::{LogConfig, LogTransport};
use busgate_transports_memory::{MemoryConfig, MemoryTransport};
use busgate_transports_nats::NatsTransport;
use busgate_transports_redis::RedisTransport;
use bytes::Bytes;
use clap::Args;
use futures_util::{
    StreamExt,
    future::{join, join_all},
    stream::FuturesUnordered,
};
use tokio::{sync::Semaphore, time::Instant};

use crate::{Failure, report::quantile};

const EVENT: &str = "bench.pool";

const GROUP: &str = "workers";

/// How many messages a member has unsettled at most, as a subscription has it by default.
pub(super) const WINDOW: usize = 256;

/// How much is under way, and for how long.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Sizes {
    /// How many messages are under way at once, from publish to answered ack.
    #[arg(long)]
    pub(crate) in_flight: usize,
    /// How many members the group has.
    #[arg(long)]
    pub(crate) members: usize,
    /// Seconds.
    #[arg(long)]
    pub(crate) seconds: f64,
    /// Payload bytes, 8 or more.
    #[arg(long)]
    pub(crate) payload: usize,
}

impl Sizes {
    /// The arguments that say the same.
    pub(super) fn arguments(&self) -> [String; 4] {
        let Self { in_flight, members, seconds, payload } = self;
        [
            format!("--in-flight={in_flight}"),
            format!("--members={members}"),
            format!("--seconds={seconds}"),
            format!("--payload={payload}"),
        ]
    }
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// `memory:`, `log:DIR`, a broker's URL, or the gateway's address.
    target: String,
    /// By the typed bus.
    #[arg(long)]
    typed: bool,
    #[command(flatten)]
    sizes: Sizes,
}

/// Prints `acked seconds p50_us p99_us`, the time from before the publish to the answered ack.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let transport = open(&options.target).await?;
        let started = Instant::now();
        let mut micros = match options.typed {
            true => typed::drive(transport, options.sizes).await?,
            false => Run::new(transport, options.sizes)?.drive().await?,
        };
        let seconds = started.elapsed().as_secs_f64();
        micros.sort_unstable();
        let (p50, p99) = (quantile(&micros, 0.5), quantile(&micros, 0.99));
        writeln!(std::io::stdout(), "{} {seconds} {p50} {p99}", micros.len())?;
        Ok(())
    })
}

pub(super) async fn open(target: &str) -> Result<Arc<dyn Transport>, Failure> {
    Ok(match target.split_once(':') {
        Some(("memory", _)) => MemoryTransport::new(MemoryConfig::default()),
        Some(("log", folder)) => LogTransport::open(LogConfig::new(folder)).await?,
        Some(("redis", _)) => RedisTransport::connect(target.parse()?).await?,
        Some(("nats", _)) => NatsTransport::connect(target.parse()?).await?,
        Some(("kafka", _)) => KafkaTransport::connect(target.parse()?).await?,
        _ => RemoteTransport::connect(target).await?,
    })
}

struct Run {
    transport: Arc<dyn Transport>,
    event: EventName,
    sizes: Sizes,
    started: Instant,
    over: AtomicBool,
    /// One for each message that may be under way still, from before its publish to its answered ack.
    room: Semaphore,
}

impl Run {
    fn new(transport: Arc<dyn Transport>, sizes: Sizes) -> Result<Self, Failure> {
        let event = EventName::new(EVENT)?;
        let room = Semaphore::new(sizes.in_flight);
        Ok(Self { transport, event, sizes, started: Instant::now(), over: AtomicBool::new(false), room })
    }

    /// The microseconds that each message took.
    async fn drive(mut self) -> Result<Vec<u64>, Failure> {
        self.transport.register(&self.event, &EventConfig::default()).await?;
        self.started = Instant::now();
        let payload = vec![b'x'; self.sizes.payload.max(size_of::<u64>())];
        let publishers = join_all((0..self.sizes.in_flight).map(|_| self.publish(payload.clone())));
        let members = async {
            let acked = join_all((0..self.sizes.members).map(|_| self.work())).await;
            self.room.close();
            acked
        };
        let (published, acked) = join(publishers, members).await;
        published.into_iter().collect::<Result<(), _>>()?;
        let mut micros = Vec::new();
        for found in acked {
            micros.extend(found?);
        }
        Ok(micros)
    }

    fn is_over(&self) -> bool {
        if self.started.elapsed().as_secs_f64() >= self.sizes.seconds {
            self.over.store(true, Ordering::Relaxed);
        }
        self.over.load(Ordering::Relaxed)
    }

    /// Publishes one message after the other.
    async fn publish(&self, mut payload: Vec<u8>) -> Result<(), Failure> {
        while !self.is_over()
            && let Ok(place) = self.room.acquire().await
        {
            place.forget();
            let now = u64::try_from(self.started.elapsed().as_micros())?;
            if let Some(stamp) = payload.first_chunk_mut() {
                *stamp = now.to_le_bytes();
            }
            let mut message = Message::new(MessageId::generate(), Bytes::copy_from_slice(&payload));
            message.timestamp = Timestamp::from_millis(1);
            for receipt in self.transport.publish(&self.event, vec![message]).await {
                receipt?;
            }
        }
        Ok(())
    }

    /// One member: acks whatever it gets, as many at once as its window lets through.
    async fn work(&self) -> Result<Vec<u64>, Failure> {
        let options = SubscribeOptions::pool(GroupName::new(GROUP)?, Start::Beginning);
        let mut messages = Arc::clone(&self.transport).subscribe(&self.event, options).await?;
        let mut acks = FuturesUnordered::new();
        let mut micros = Vec::new();
        let until = self.started + Duration::from_secs_f64(self.sizes.seconds);
        loop {
            tokio::select! {
                item = messages.next() => match item.ok_or("the subscription ended")?? {
                    Item::Delivery(delivery) => acks.push(self.ack(delivery)),
                    Item::Gap(gap) => return Err(format!("there was a gap: {gap:?}").into()),
                },
                Some(took) = acks.next(), if !acks.is_empty() => micros.push(took?),
                () = tokio::time::sleep_until(until) => return Ok(micros),
            }
        }
    }

    async fn ack(&self, delivery: Delivery) -> Result<u64, Failure> {
        let stamp = delivery.message.payload.first_chunk().ok_or("a message came without its stamp")?;
        let sent = u64::from_le_bytes(*stamp);
        match delivery.ack().await? {
            Settled::Acked => {
                self.room.add_permits(1);
                Ok(u64::try_from(self.started.elapsed().as_micros())? - sent)
            }
            other => Err(format!("an ack was answered {other:?}").into()),
        }
    }
}
