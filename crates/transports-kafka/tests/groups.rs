//! Groups over several nodes: rebalances under load, nodes that die, delays, and settling from elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use busgate_brokers::{Kind, shared};
use busgate_core::{
    ConsumerName, Delivery, ErrorKind, EventConfig, EventName, GroupName, Holder, Item, LeaseToken, Message,
    MessageId, Nack, Settled, Settlement, Start, SubscribeOptions, Subscription, Transport, Verb,
};
use busgate_transports_kafka::KafkaTransport;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::{Instant, timeout};

const PATIENCE: Duration = Duration::from_secs(30);

/// What tells the child process which node it is to be.
const CHILD: &str = "BUSGATE_TEST_CHILD";

fn prefix() -> String {
    let id = MessageId::generate();
    format!("g.{}.", id.as_str().rsplit('-').next().unwrap())
}

async fn node(prefix: &str, more: &str) -> Arc<KafkaTransport> {
    let url = format!("{}?prefix={prefix}{more}", shared(Kind::Kafka));
    KafkaTransport::connect(url.parse().unwrap()).await.unwrap()
}

fn orders() -> EventName {
    EventName::new("orders").unwrap()
}

fn pool(window: usize) -> SubscribeOptions {
    let options = SubscribeOptions::pool(GroupName::new("workers").unwrap(), Start::Beginning);
    SubscribeOptions { max_in_flight: window, ..options }
}

async fn publish(node: &Arc<KafkaTransport>, ids: impl Iterator<Item = usize>, keys: usize) {
    let batch = ids.map(|number| {
        let mut message = Message::new(MessageId::new(format!("m{number}")).unwrap(), "x");
        message.key = (keys > 0).then(|| format!("k{}", number % keys));
        message
    });
    for receipt in node.publish(&orders(), batch.collect()).await {
        receipt.unwrap();
    }
}

async fn subscribe(node: &Arc<KafkaTransport>, options: SubscribeOptions) -> Subscription {
    let node: Arc<dyn Transport> = Arc::clone(node) as _;
    node.subscribe(&orders(), options).await.unwrap()
}

async fn next_within(items: &mut Subscription, time: Duration) -> Option<Delivery> {
    match timeout(time, items.next()).await {
        Ok(Some(Ok(Item::Delivery(delivery)))) => Some(delivery),
        Ok(other) => panic!("wanted a delivery, found {other:?}"),
        Err(_) => None,
    }
}

async fn next(items: &mut Subscription) -> Delivery {
    next_within(items, PATIENCE).await.expect("a delivery")
}

fn number(delivery: &Delivery) -> usize {
    delivery.message.id.as_str()[1..].parse().unwrap()
}

async fn settle(node: &Arc<KafkaTransport>, token: &LeaseToken, verb: Verb) -> Settled {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut answers = node.settle(vec![Settlement { token: token.clone(), verb: verb.clone() }]).await;
        match answers.pop().unwrap() {
            Ok(settled) => return settled,
            Err(error) if error.kind() == ErrorKind::Unavailable && Instant::now() < deadline => {}
            Err(error) => panic!("{verb:?}: {error:?}"),
        }
    }
}

/// Everything that was answered as acked, and what was delivered of it afterwards.
#[derive(Default)]
struct Ledger {
    acked: BTreeSet<usize>,
    by_key: BTreeMap<String, Vec<usize>>,
}

impl Ledger {
    /// Takes what comes within a moment, and acks it.
    async fn drain(&mut self, members: &mut [Subscription]) {
        for member in members {
            while let Some(delivery) = next_within(member, Duration::from_millis(10)).await {
                let number = number(&delivery);
                assert!(!self.acked.contains(&number), "m{number} was acked, and came again");
                let key = delivery.message.key.clone().unwrap_or_default();
                match delivery.ack().await {
                    Ok(Settled::Acked) => {
                        self.acked.insert(number);
                        self.by_key.entry(key).or_default().push(number);
                    }
                    Ok(Settled::Stale) => {}
                    other => panic!("an ack was answered {other:?}"),
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rebalances_under_load_repeat_nothing_acked_and_keep_the_order_of_keys() {
    const COUNT: usize = 400;
    let prefix = prefix();
    let first = node(&prefix, "").await;
    first.register(&orders(), &EventConfig::default()).await.unwrap();
    let mut members = vec![subscribe(&first, pool(8)).await];
    let (mut nodes, mut ledger) = (vec![Arc::clone(&first)], Ledger::default());
    for round in 0..8 {
        publish(&first, round * 50..(round + 1) * 50, 10).await;
        match round {
            1 | 3 => {
                let joins = node(&prefix, "").await;
                members.push(subscribe(&joins, pool(8)).await);
                nodes.push(joins);
            }
            5 => {
                members.pop();
                nodes.pop().unwrap().close().await.unwrap();
            }
            _ => {}
        }
        ledger.drain(&mut members).await;
    }
    let deadline = Instant::now() + PATIENCE;
    while ledger.acked.len() < COUNT {
        assert!(Instant::now() < deadline, "{} of {COUNT} came", ledger.acked.len());
        ledger.drain(&mut members).await;
    }
    for (key, order) in &ledger.by_key {
        assert!(order.is_sorted(), "the messages of {key} were done in the order {order:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_runs_on_when_its_partition_goes_to_another_node() {
    let prefix = prefix();
    let (first, second) = (node(&prefix, "&partitions=1").await, node(&prefix, "&partitions=1").await);
    first.register(&orders(), &EventConfig::default()).await.unwrap();
    let mut here = subscribe(&first, pool(1)).await;
    publish(&first, 0..2, 0).await;
    let token = next(&mut here).await.token().unwrap().clone();
    let mut there = subscribe(&second, pool(2)).await;
    drop(here);
    first.close().await.unwrap();
    assert_eq!(number(&next(&mut there).await), 1);
    assert!(next_within(&mut there, Duration::from_millis(500)).await.is_none(), "m0 is in other hands");
    assert_eq!(settle(&second, &token, Verb::Ack).await, Settled::Acked);
    assert_eq!(settle(&second, &token, Verb::Ack).await, Settled::Stale);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_message_wedges_nothing_and_survives_a_crash() {
    const COUNT: usize = 3000;
    let prefix = prefix();
    let first = node(&prefix, "&partitions=1").await;
    first.register(&orders(), &EventConfig::default()).await.unwrap();
    let mut member = subscribe(&first, pool(64)).await;
    publish(&first, 0..COUNT, 0).await;
    let poison = next(&mut member).await;
    assert_eq!(number(&poison), 0);
    let later = Nack { delay: Some(Duration::from_secs(8)), error: Some("poison".into()) };
    let due = Instant::now() + Duration::from_secs(8);
    assert_eq!(poison.nack(later).await.unwrap(), Settled::Nacked);
    let mut wanted = 1..COUNT;
    while !wanted.is_empty() {
        let mut batch = Vec::new();
        for wanted in wanted.by_ref().take(60) {
            let delivery = next(&mut member).await;
            assert_eq!((number(&delivery), delivery.attempt), (wanted, 1));
            batch.push(Settlement { token: delivery.token().unwrap().clone(), verb: Verb::Ack });
        }
        let answers = first.settle(batch).await;
        assert!(answers.into_iter().all(|answer| answer.unwrap() == Settled::Acked));
    }
    drop((member, first));
    let second = node(&prefix, "").await;
    let mut member = subscribe(&second, pool(64)).await;
    let back = next(&mut member).await;
    assert_eq!((number(&back), back.attempt), (0, 2));
    assert!(Instant::now() + Duration::from_millis(100) >= due, "{:?} early", due - Instant::now());
    assert_eq!(back.ack().await.unwrap(), Settled::Acked);
    assert!(next_within(&mut member, Duration::from_millis(300)).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_is_taken_over_by_another_node() {
    let prefix = prefix();
    let (first, second) = (node(&prefix, "").await, node(&prefix, "").await);
    first.register(&orders(), &EventConfig::default()).await.unwrap();
    let reader = || SubscribeOptions::consumer(ConsumerName::new("reader").unwrap(), Start::Beginning);
    let mut earlier = subscribe(&first, reader()).await;
    publish(&first, 0..20, 20).await;
    let held = next(&mut earlier).await;
    let mut later = subscribe(&second, reader()).await;
    let end = loop {
        match timeout(PATIENCE, earlier.next()).await.unwrap() {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("the earlier one ended without a word"),
        }
    };
    assert_eq!(end.kind(), ErrorKind::Exists);
    let mut found = BTreeSet::new();
    while found.len() < 20 {
        let delivery = next(&mut later).await;
        found.insert(number(&delivery));
        assert_eq!(delivery.ack().await.unwrap(), Settled::Acked);
    }
    assert_eq!(held.ack().await.unwrap(), Settled::Stale);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_lead_their_group_where_the_broker_does_not() {
    let kafka = busgate_brokers::Kafka::new().property("group.coordinator.rebalance.protocols", "classic");
    let broker = kafka.start().unwrap();
    let transport = KafkaTransport::connect(format!("{}?connect_timeout=30s", broker.url()).parse().unwrap())
        .await
        .unwrap();
    transport.register(&orders(), &EventConfig::default()).await.unwrap();
    let mut member = subscribe(&transport, pool(8)).await;
    publish(&transport, 0..3, 0).await;
    for wanted in 0..3 {
        let delivery = next(&mut member).await;
        assert_eq!(number(&delivery), wanted);
        assert_eq!(delivery.ack().await.unwrap(), Settled::Acked);
    }
    transport.close().await.unwrap();
}

/// Settings that have a dead member found out soon.
const SOON: &str = "&partitions=2&group_protocol=classic&client.session.timeout.ms=1500";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_leaves_nothing_behind() {
    #[allow(clippy::disallowed_methods, reason = "how a test tells the process it starts what to be")]
    if let Ok(prefix) = std::env::var(CHILD) {
        return be_killed(&prefix).await;
    }
    let prefix = prefix();
    let survivor = node(&prefix, SOON).await;
    survivor.register(&orders(), &EventConfig::default()).await.unwrap();
    publish(&survivor, 0..40, 40).await;
    let mut other = Other::start(&prefix);
    let (acked, tokens) = other.work();
    // Settled by the owner, for a node that is none.
    assert_eq!(settle(&survivor, &tokens[0], Verb::Ack).await, Settled::Acked);
    other.kill();
    assert_eq!(settle(&survivor, &tokens[0], Verb::Ack).await, Settled::Stale);
    assert_eq!(settle(&survivor, &tokens[1], Verb::Ack).await, Settled::Acked);
    let mut member = subscribe(&survivor, pool(64)).await;
    let (mut found, deadline) = (BTreeSet::new(), Instant::now() + PATIENCE);
    while found.len() < 40 - acked.len() - 2 {
        assert!(Instant::now() < deadline, "{} came back", found.len());
        let Some(delivery) = next_within(&mut member, Duration::from_millis(200)).await else { continue };
        assert!(!acked.contains(&number(&delivery)), "m{} was acked", number(&delivery));
        assert!(found.insert(number(&delivery)));
        assert_eq!(delivery.ack().await.unwrap(), Settled::Acked);
    }
    assert!(next_within(&mut member, Duration::from_millis(300)).await.is_none());
}

/// A node in a process of its own.
struct Other(Child);

impl Other {
    fn start(prefix: &str) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_killed_node_leaves_nothing_behind", "--nocapture"])
            .env(CHILD, prefix)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        Self(child.unwrap())
    }

    /// What it acked, and the leases it holds.
    fn work(&mut self) -> (BTreeSet<usize>, Vec<LeaseToken>) {
        let (mut acked, mut tokens) = (BTreeSet::new(), Vec::new());
        for line in BufReader::new(self.0.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let words: Vec<_> = line.split(' ').collect();
            match words[..] {
                ["acked", number] => drop(acked.insert(number.parse().unwrap())),
                ["holds", epoch, ref entry @ ..] => tokens.push(LeaseToken {
                    event: orders(),
                    holder: Holder::Group(GroupName::new("workers").unwrap()),
                    entry: entry.iter().map(|byte| byte.parse::<u8>().unwrap()).collect::<Bytes>(),
                    epoch: epoch.parse().unwrap(),
                }),
                ["done"] => break,
                _ => {}
            }
        }
        (acked, tokens)
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Acks ten, holds five under short leases, and waits to be killed.
async fn be_killed(prefix: &str) {
    let node = node(prefix, SOON).await;
    let mut options = pool(15);
    options.retry.ack_wait = Duration::from_secs(4);
    let mut member = subscribe(&node, options).await;
    let (mut out, mut held) = (std::io::stdout(), Vec::new());
    writeln!(out).unwrap();
    for count in 0..15 {
        let delivery = next(&mut member).await;
        if count < 10 {
            let number = number(&delivery);
            assert_eq!(delivery.ack().await.unwrap(), Settled::Acked);
            writeln!(out, "acked {number}").unwrap();
            continue;
        }
        let token = delivery.token().unwrap();
        let entry: Vec<_> = token.entry.iter().map(ToString::to_string).collect();
        writeln!(out, "holds {} {}", token.epoch, entry.join(" ")).unwrap();
        held.push(delivery);
    }
    writeln!(out, "done").unwrap();
    // It ends with the one who started it, at the latest.
    std::io::stdin().lines().for_each(drop);
}
