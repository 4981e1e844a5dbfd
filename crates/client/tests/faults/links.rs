//! Slow, lossy and broken links, by toxiproxy, under load.

use std::{future::Future, sync::Arc, time::Duration};

use busgate_brokers::{Link, Toxiproxy};
use busgate_core::{GroupName, Item, Message, MessageId, RetryPolicy, Start, SubscribeOptions};
use futures_util::StreamExt;

use crate::{
    load::{Load, Sum},
    stage::{Gateway, HUNG, connected, orders, patient, soon},
};

/// How long what toxiproxy spoils is spoilt, each time.
const SPOILT: Duration = Duration::from_millis(1500);

/// A lease that outlives what a link holds back.
const LONG: Duration = Duration::from_secs(20);

/// Load over a link that `harm` spoils.
async fn over<'a, F: Future<Output = ()>>(
    toxiproxy: &'a Toxiproxy,
    harm: impl FnOnce(Arc<Link<'a>>) -> F,
) -> Sum {
    let gateway = Gateway::memory().await;
    let link = Arc::new(toxiproxy.link("gateway", gateway.address()).unwrap());
    let bus = connected(patient(url(&link))).await;
    let orders = orders(&bus).await;
    let load = Load::new(bus, orders, "run", HUNG).with_ack_wait(LONG);
    let harm = harm(Arc::clone(&link));
    let whole = async {
        load.advance(20).await;
        harm.await;
        load.advance(20).await;
    };
    load.under(whole).await.unwrap()
}

fn url(link: &Link<'_>) -> String {
    format!("http://{}", link.address())
}

/// The toxic for a while in each direction, and then not any more.
async fn spoilt(link: &Link<'_>, toxic: &str, attributes: &str) {
    for stream in ["downstream", "upstream"] {
        link.spoil(toxic, stream, attributes).unwrap();
        tokio::time::sleep(SPOILT).await;
        link.heal(toxic, stream).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_and_jittery_link_delivers_each_once() {
    let toxiproxy = Toxiproxy::start().unwrap();
    let sum = over(&toxiproxy, |link| async move {
        for stream in ["downstream", "upstream"] {
            link.spoil("latency", stream, r#""latency":40,"jitter":40"#).unwrap();
            link.spoil("slicer", stream, r#""average_size":500,"size_variation":400,"delay":200"#).unwrap();
        }
        tokio::time::sleep(2 * SPOILT).await;
    })
    .await;
    assert_eq!((sum.attempts, sum.failed), (1, 0), "nothing broke, so nothing comes twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_narrow_link_delivers_each_once() {
    let toxiproxy = Toxiproxy::start().unwrap();
    let sum = over(&toxiproxy, |link| async move { spoilt(&link, "bandwidth", r#""rate":60"#).await }).await;
    assert_eq!((sum.attempts, sum.failed), (1, 0), "nothing broke, so nothing comes twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_swallows_everything_is_found_out() {
    let toxiproxy = Toxiproxy::start().unwrap();
    over(&toxiproxy, |link| async move { spoilt(&link, "timeout", r#""timeout":1000"#).await }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_and_slow_closes_are_survived() {
    let toxiproxy = Toxiproxy::start().unwrap();
    over(&toxiproxy, |link| async move {
        spoilt(&link, "reset_peer", r#""timeout":300"#).await;
        link.spoil("slow_close", "downstream", r#""delay":500"#).unwrap();
        spoilt(&link, "reset_peer", r#""timeout":0"#).await;
        link.heal("slow_close", "downstream").unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_cut_after_so_many_bytes_are_survived() {
    let toxiproxy = Toxiproxy::start().unwrap();
    over(&toxiproxy, |link| async move { spoilt(&link, "limit_data", r#""bytes":30000"#).await }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_goes_down_and_up_is_survived() {
    let toxiproxy = Toxiproxy::start().unwrap();
    over(&toxiproxy, |link| async move {
        for _ in 0..5 {
            link.enable(false).unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
            link.enable(true).unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_in_the_client_keeps_its_lease() {
    const MESSAGES: usize = 25;
    const ACK_WAIT: Duration = Duration::from_secs(1);
    let gateway = Gateway::memory().await;
    let toxiproxy = Toxiproxy::start().unwrap();
    let link = toxiproxy.link("gateway", gateway.address()).unwrap();
    for stream in ["downstream", "upstream"] {
        link.spoil("latency", stream, r#""latency":30,"jitter":20"#).unwrap();
    }
    let bus = connected(patient(url(&link))).await;
    let orders = orders(&bus).await;
    let batch = (0..MESSAGES).map(|n| Message::new(MessageId::new(format!("{n}")).unwrap(), "x")).collect();
    soon(bus.publish(&orders, batch)).await.into_iter().for_each(|answer| drop(answer.unwrap()));
    let retry = RetryPolicy { ack_wait: ACK_WAIT, ..RetryPolicy::default() };
    let worker = SubscribeOptions { retry, ..SubscribeOptions::pool(GroupName::default(), Start::Beginning) };
    let mut work = soon(Arc::clone(&bus).subscribe(&orders, worker)).await.unwrap();
    for n in 0..MESSAGES {
        let Some(Ok(Item::Delivery(delivery))) = soon(work.next()).await else { panic!("no delivery") };
        assert_eq!((delivery.message.id.as_str(), delivery.attempt), (n.to_string().as_str(), 1));
        // All together several times the lease.
        tokio::time::sleep(ACK_WAIT / 8).await;
        assert_eq!(soon(delivery.ack()).await.unwrap(), busgate_core::Settled::Acked);
    }
    let stats = gateway.stats();
    assert_eq!((stats.redelivered, stats.acked), (0, MESSAGES as u64), "{stats:?}");
    assert!(stats.extended > 0, "no lease was kept alive: {stats:?}");
}
