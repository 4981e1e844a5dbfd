//! Publish, consume and ack: by a broker's own client, by the transport in this process, and through the client and a
//! gateway, in turn, on the same broker at the same durability.

use busgate_brokers::{Broker, Kafka, Nats, Redis};
use clap::{Args, ValueEnum};

use crate::{
    Failure,
    ingest::figures,
    load::{self, Acks, NATIVE, Sizes},
    process::Server,
    report::{Table, median, thousands},
};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The brokers.
    #[arg(long, value_delimiter = ',', default_value = "redis,nats,kafka")]
    brokers: Vec<Kind>,
    /// A running broker to use instead of one of its own: its URL, with the one broker named.
    #[arg(long)]
    url: Option<String>,
    /// When Redis and NATS answer; Kafka answers when all replicas have a message, and leaves syncing to the system.
    #[arg(long, default_value = "synced")]
    answers: Answers,
    /// How members ack through busgate; else as the broker's own client does.
    #[arg(long)]
    acks: Option<Acks>,
    /// How many messages are under way at once.
    #[arg(long, default_value_t = 256)]
    in_flight: usize,
    /// How many members the group has, and a Kafka topic partitions.
    #[arg(long, default_value_t = 4)]
    members: usize,
    /// How often each is measured in turn.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each measurement's publishing.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Payload bytes.
    #[arg(long, default_value_t = 128)]
    payload: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Redis,
    Nats,
    Kafka,
}

impl Kind {
    /// How its own client acks: one `XACK` or commit for all that was read at once, or each message for itself.
    const fn acks(self) -> Acks {
        match self {
            Self::Redis | Self::Kafka => Acks::Together,
            Self::Nats => Acks::Each,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Answers {
    /// When a message is on disk.
    Synced,
    /// As soon as they can.
    AtOnce,
}

/// Messages a second: published, consumed and acked, and both at once; then microseconds from publish to answered ack.
type Found = [f64; 5];

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut table = Table::new(&[
        "broker",
        "client",
        "published/s",
        "÷ native",
        "consumed and acked/s",
        "÷ native",
        "both at once/s",
        "÷ native",
        "p50 µs",
        "p99 µs",
    ]);
    for &kind in &options.brokers {
        measure(kind, options, &mut table)?;
    }
    Ok(table.print()?)
}

fn measure(kind: Kind, options: &Options, table: &mut Table) -> Result<(), Failure> {
    let own = options.url.is_none().then(|| start(kind, options.answers)).transpose()?;
    let url = own.as_ref().map(Broker::url).or_else(|| options.url.clone()).unwrap_or_default();
    let mut sides = Sides { kind, url, options, measured: 0 };
    // What is slow at first (a Java that compiles, a file that grows) is nobody's fault.
    sides.native()?;
    let (mut native, mut within, mut through) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        native.push(sides.native()?);
        within.push(sides.in_process()?);
        through.push(sides.behind_a_gateway()?);
    }
    for (place, found) in
        [("its own", &native), ("the transport, in process", &within), ("through a gateway", &through)]
    {
        row(table, kind, place, found, &native);
    }
    Ok(())
}

fn start(kind: Kind, answers: Answers) -> Result<Broker, Failure> {
    Ok(match (kind, answers) {
        (Kind::Redis, Answers::Synced) => Redis::v8_2().durable().start()?,
        (Kind::Redis, Answers::AtOnce) => Redis::v8_2().start()?,
        (Kind::Nats, Answers::Synced) => Nats::v2_15().durable().start()?,
        (Kind::Nats, Answers::AtOnce) => Nats::v2_15().start()?,
        (Kind::Kafka, _) => Kafka::new().start()?,
    })
}

/// The three ways to one broker.
struct Sides<'a> {
    kind: Kind,
    url: String,
    options: &'a Options,
    measured: usize,
}

impl Sides<'_> {
    fn native(&mut self) -> Result<Found, Failure> {
        self.load(&format!("{NATIVE}{}", self.url))
    }

    fn in_process(&mut self) -> Result<Found, Failure> {
        self.load(&self.transport())
    }

    fn behind_a_gateway(&mut self) -> Result<Found, Failure> {
        let server = Server::busgate_anywhere(&self.transport())?;
        self.load(&format!("http://{}", server.grpc))
    }

    /// What makes the transport like the native client where it has a choice.
    fn transport(&self) -> String {
        match self.kind {
            Kind::Redis | Kind::Nats => self.url.clone(),
            Kind::Kafka => format!("{}?partitions={}&unkeyed=spread", self.url, self.options.members),
        }
    }

    /// One measurement on an event of its own, which is gone after it.
    fn load(&mut self, target: &str) -> Result<Found, Failure> {
        let Options { in_flight, members, seconds, payload, acks, .. } = *self.options;
        self.measured += 1;
        let event = format!("bench.p{}.n{}", std::process::id(), self.measured);
        let sizes = Sizes { in_flight, members, seconds, payload };
        let acks = acks.unwrap_or_else(|| self.kind.acks());
        let output = load::broker_command(target, &event, acks, &sizes)?.output()?;
        let printed = String::from_utf8(output.stdout)?;
        let found = figures(&printed);
        let said =
            || format!("the load on {target} failed: {}", String::from_utf8_lossy(&output.stderr)).into();
        found.ok_or_else(said)
    }
}

fn row(table: &mut Table, kind: Kind, place: &str, found: &[Found], native: &[Found]) {
    let middle =
        |figure: usize| median(found.iter().filter_map(|found| found.get(figure).copied()).collect());
    let ratio = |figure: usize| {
        let pairs = found
            .iter()
            .zip(native)
            .filter_map(|(found, native)| Some((found.get(figure)?, native.get(figure)?)));
        median(pairs.map(|(found, native)| found / native).collect())
    };
    let mut cells = vec![format!("{kind:?}"), place.to_owned()];
    for figure in 0..3 {
        cells.extend([thousands(middle(figure)), format!("{:.2}", ratio(figure))]);
    }
    cells.extend([format!("{:.0}", middle(3)), format!("{:.0}", middle(4))]);
    table.row(cells);
}
