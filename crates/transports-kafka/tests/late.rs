//! Commits that reach the broker late: what was acked since does not come back. Each test has a broker of its own, which
//! the node `near` reaches directly and the node `far` over a ferry, which can keep what it has on board.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use busgate_brokers::{Kafka, Listener, free_port};
use busgate_core::{
    Delivery, ErrorKind, GroupName, RetryPolicy, Settled, Start, SubscribeOptions, Tasks, Transport,
};
use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::watch,
    time::sleep,
};

mod support;

use support::{delivery, event, next, node, publish, subscribe};

/// What becomes of what clients send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tide {
    /// It arrives.
    High,
    /// What connections send that were there before stays on board, even once they are closed. New ones are not held up.
    Low,
    /// Nothing arrives, nor comes back.
    Out,
}

/// A proxy that a client can't tell from a slow network.
struct Ferry {
    address: SocketAddr,
    tide: watch::Sender<Tide>,
    _tasks: Arc<Tasks>,
}

impl Ferry {
    async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tide, tasks) = (watch::channel(Tide::High).0, Arc::new(Tasks::new()));
        let (tides, crossings) = (tide.clone(), Arc::downgrade(&tasks));
        tasks.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Some(tasks) = crossings.upgrade() else { return };
                tasks.spawn(cross(client, server, tides.subscribe()));
            }
        });
        Self { address, tide, _tasks: tasks }
    }
}

/// Carries one connection over, until the tide is out.
async fn cross(client: TcpStream, server: SocketAddr, mut tide: watch::Receiver<Tide>) {
    let began = *tide.borrow();
    if began == Tide::Out {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else { return };
    let ((from_client, mut to_client), (mut from_server, to_server)) =
        (client.into_split(), server.into_split());
    let there = there(from_client, to_server, tide.clone(), began);
    let back = async {
        // A client that is gone needs no answers, but what it sent still arrives.
        let _ = copy(&mut from_server, &mut to_client).await;
        drop(to_client);
    };
    tokio::select! {
        _ = futures_util::future::join(there, back) => {}
        _ = tide.wait_for(|tide| *tide == Tide::Out) => {}
    }
}

async fn there(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, tide: watch::Receiver<Tide>, began: Tide) {
    let mut aboard = BytesMut::with_capacity(1 << 16);
    while let Ok(count) = from.read_buf(&mut aboard).await {
        let is_held = |tide: &Tide| *tide == Tide::Low && began == Tide::High;
        // What is on board when the tide is low waits with all that follows it.
        let _ = tide.clone().wait_for(|tide| !is_held(tide)).await;
        if count == 0 || to.write_all_buf(&mut aboard).await.is_err() {
            return;
        }
    }
}

fn workers() -> SubscribeOptions {
    let options = SubscribeOptions::pool(GroupName::new("workers").unwrap(), Start::Beginning);
    let retry = RetryPolicy { ack_wait: Duration::from_secs(10), ..options.retry };
    SubscribeOptions { retry, ..options }
}

/// Acks; whether that was answered in time.
async fn ack(delivery: Delivery) -> bool {
    match delivery.ack().await {
        Ok(settled) => settled == Settled::Acked,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_arrives_late_is_made_good() {
    let port = free_port().unwrap();
    let ferry = Ferry::start(([127, 0, 0, 1], port).into()).await;
    let listener = Listener { protocol: "PLAINTEXT", port, advertised: ferry.address };
    let broker = Kafka::new().listener(listener).start().unwrap();
    let options = "partitions=1&timeout=8s&connect_timeout=30s&dedup_window=0s";
    let near = node(&broker.url(), options).await;
    let event = event(&near, "orders").await;
    // Whoever runs it wants dead connections given up soon; those of a group are in any case.
    let hasty = format!("{options}&client.socket.timeout.ms=1000");
    let far = node(&broker.url_at(ferry.address), &hasty).await;
    let mut owner = subscribe(&far, &event, workers()).await;
    let mut held = Vec::new();
    for id in ["first", "second", "third", "left"] {
        publish(&near, &event, id).await.unwrap();
        held.push(delivery(&mut owner).await);
    }
    let (mut acked, mut held) = (BTreeSet::new(), held.into_iter());
    for tide in [Tide::High, Tide::Low, Tide::Low] {
        ferry.tide.send_replace(tide);
        let delivery = held.next().unwrap();
        let id = delivery.message.id.to_string();
        if ack(delivery).await {
            acked.insert(id);
        }
    }
    assert!(acked.contains("first"));
    assert!(acked.contains("third"), "it went over another connection than the second");
    // What was on board arrives, and two seconds later the node is lost.
    ferry.tide.send_replace(Tide::High);
    sleep(Duration::from_secs(2)).await;
    ferry.tide.send_replace(Tide::Out);
    let mut heir = subscribe(&near, &event, workers()).await;
    loop {
        let id = next(&mut heir).await;
        assert!(!acked.contains(&id), "{id} was acked, and came again");
        if id == "left" {
            break;
        }
    }
    ferry.tide.send_replace(Tide::High);
    drop((owner, heir, held));
    far.close().await.unwrap();
    near.close().await.unwrap();
}
