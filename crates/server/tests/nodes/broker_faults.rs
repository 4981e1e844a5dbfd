//! The broker, or the way to it, goes away and comes back.

use std::{net::SocketAddr, process::Output, time::Duration};

use busgate_brokers::{Broker, Link, Toxiproxy};
use tokio::task::block_in_place;

use crate::{
    backend::Backend,
    client::Answer,
    load::Sum,
    node::{Node, PATIENCE, command},
    restarts::{PROGRESS, load_over},
};

/// How long a broker stands still, or is away.
const AWAY: Duration = Duration::from_secs(3);

/// How long what toxiproxy spoils is spoilt, each time.
const SPOILT: Duration = Duration::from_millis(1500);

/// A lease that outlives what the broker does: one that ran out in between may be given to another while its ack is on
/// the way.
const LEASE: Duration = Duration::from_secs(20);

const EVENT: &str = "orders";

pub(crate) async fn while_the_broker_is_away_the_answers_say_so(backend: Backend) {
    let broker = block_in_place(|| backend.own());
    let node = block_in_place(|| Node::serve(&broker.url()));
    node.register(EVENT).await;
    let mut live = node.call("GET", &format!("/v1/events/{EVENT}/stream?encoding=text")).stream().await;
    node.publish(EVENT, "before").await;
    assert_eq!(live.next_of("message").await.data["payload"], "before");
    broker.kill().unwrap();
    tells_that_it_is_away(&node.try_publish(EVENT, "away").await);
    assert_eq!(node.call("GET", "/healthz").send().await.status, 200);
    becomes(&node, 503).await;
    block_in_place(|| broker.start()).unwrap();
    becomes(&node, 200).await;
    node.publish(EVENT, "after").await;
    // What was answered as failed may be there, and what was there is there still; the stream is the same.
    let mut seen = live.next_of("message").await.data["payload"].clone();
    if seen == "away" {
        seen = live.next_of("message").await.data["payload"].clone();
    }
    assert_eq!(seen, "after");
}

/// The answer of a publish: not now, and when to ask again.
fn tells_that_it_is_away(answer: &Answer) {
    let kind = match answer.status {
        503 => "unavailable",
        _ => "timeout",
    };
    answer.expect_problem(if kind == "timeout" { 504 } else { 503 }, kind);
    assert!(kind == "timeout" || !answer.header("retry-after").is_empty(), "{answer:?}");
}

/// Waits until its readiness is this.
async fn becomes(node: &Node, status: u16) {
    for _ in 0..PATIENCE.as_millis() / 100 {
        if node.call("GET", "/readyz").send().await.status == status {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("its readiness never became {status}");
}

/// The load over two nodes while the broker is harmed.
async fn under(backend: Backend, harm: impl AsyncFnOnce(&Broker)) -> Sum {
    let broker = block_in_place(|| backend.own());
    over(&broker.url(), harm(&broker)).await
}

/// The load over two nodes while the way to the broker is harmed.
async fn over_a_link(backend: Backend, harm: impl AsyncFnOnce(&Link<'_>)) -> Sum {
    let toxiproxy = block_in_place(Toxiproxy::start).unwrap();
    let (_broker, link, url) = block_in_place(|| backend.linked(&toxiproxy));
    over(&url, harm(&link)).await
}

async fn over(url: &str, harm: impl Future<Output = ()>) -> Sum {
    let nodes = [block_in_place(|| Node::serve(url)), block_in_place(|| Node::serve(url))];
    let load = load_over(&nodes).await.with_ack_wait(LEASE);
    let harm = async {
        load.advance(PROGRESS).await;
        harm.await;
        load.advance(PROGRESS).await;
    };
    Box::pin(load.under(harm)).await.unwrap()
}

pub(crate) async fn a_broker_that_stands_still_is_waited_for(backend: Backend) {
    under(backend, async |broker| {
        broker.pause().unwrap();
        tokio::time::sleep(AWAY).await;
        broker.resume().unwrap();
    })
    .await;
}

pub(crate) async fn a_broker_that_restarts_is_found_again(backend: Backend) {
    under(backend, async |broker| {
        block_in_place(|| broker.stop()).unwrap();
        tokio::time::sleep(AWAY).await;
        block_in_place(|| broker.start()).unwrap();
    })
    .await;
}

pub(crate) async fn a_broker_that_is_killed_keeps_what_was_answered(backend: Backend) {
    let broker = block_in_place(|| backend.lasting());
    over(&broker.url(), async {
        for at in 0..2 {
            block_in_place(|| broker.strike(at));
            tokio::time::sleep(SPOILT).await;
        }
    })
    .await;
}

pub(crate) async fn a_link_that_goes_down_and_up_is_survived(backend: Backend) {
    over_a_link(backend, async |link| {
        for _ in 0..4 {
            link.enable(false).unwrap();
            tokio::time::sleep(SPOILT / 4).await;
            link.enable(true).unwrap();
            tokio::time::sleep(SPOILT / 2).await;
        }
    })
    .await;
}

pub(crate) async fn a_link_that_swallows_everything_is_found_out(backend: Backend) {
    over_a_link(backend, async |link| {
        for stream in ["downstream", "upstream"] {
            link.spoil("timeout", stream, r#""timeout":0"#).unwrap();
            tokio::time::sleep(AWAY).await;
            link.heal("timeout", stream).unwrap();
        }
    })
    .await;
}

pub(crate) async fn a_slow_link_delivers_each_once(backend: Backend) {
    let sum = over_a_link(backend, async |link| {
        for stream in ["downstream", "upstream"] {
            link.spoil("latency", stream, r#""latency":20,"jitter":15"#).unwrap();
        }
        tokio::time::sleep(2 * SPOILT).await;
    })
    .await;
    assert_eq!((sum.attempts, sum.failed), (1, 0), "nothing broke, so nothing comes twice");
}

pub(crate) async fn a_broker_that_is_away_at_the_start_is_told_or_waited_for(backend: Backend) {
    let broker = block_in_place(|| backend.own());
    broker.stop().unwrap();
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let serve = || command(&broker.url(), [anywhere, anywhere]);
    let Output { status, stderr, .. } = block_in_place(|| serve().output()).unwrap();
    assert_eq!(status.code(), Some(69), "{}", String::from_utf8_lossy(&stderr));
    let url = broker.url();
    let node = tokio::task::spawn_blocking(move || Node::serve(&url));
    tokio::time::sleep(SPOILT).await;
    block_in_place(|| broker.start()).unwrap();
    node.await.unwrap().register(EVENT).await;
}
