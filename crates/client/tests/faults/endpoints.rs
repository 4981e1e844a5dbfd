//! Where the client goes: names that move, gateways that take over, and a breaker that leaves a dead one alone.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use busgate_client::{Connector, Io, RemoteTransport};
use busgate_core::{
    Error, ErrorKind, EventConfig, Message, MessageId, ReadRequest, Receipt, Result, Start, Transport,
};
use parking_lot::Mutex;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    proxy::{Action, Proxy},
    stage::{Gateway, connected, event, patient, soon, until},
};

/// A name service with one name.
#[derive(Clone, Debug)]
struct Names {
    address: Arc<Mutex<SocketAddr>>,
    asked: Arc<AtomicUsize>,
}

impl Names {
    fn new(address: SocketAddr) -> Self {
        Self { address: Arc::new(Mutex::new(address)), asked: Arc::default() }
    }
}

#[async_trait]
impl Connector for Names {
    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Io>> {
        assert_eq!((host, port), ("bus.example.test", 7000));
        self.asked.fetch_add(1, Ordering::SeqCst);
        let address = *self.address.lock();
        Ok(Box::new(TcpStream::connect(address).await?))
    }
}

async fn publish(bus: &Arc<dyn Transport>, name: &str) -> Result<Receipt> {
    let message = Message::new(MessageId::generate(), "payload");
    soon(bus.publish(&event(name), vec![message])).await.pop().unwrap()
}

async fn register(bus: &Arc<dyn Transport>, name: &str) {
    soon(bus.register(&event(name), &EventConfig::default())).await.unwrap();
}

#[tokio::test]
async fn a_name_that_moves_is_followed() {
    let first = Gateway::memory().await;
    let second = Gateway::over(Arc::clone(first.inner()), "").await;
    let names = Names::new(first.address());
    let bus = connected(patient("http://bus.example.test:7000").connector(names.clone())).await;
    register(&bus, "orders").await;
    publish(&bus, "orders").await.unwrap();
    *names.address.lock() = second.address();
    drop(first);
    publish(&bus, "orders").await.unwrap();
    assert_eq!(second.stats().published, 1);
    assert!(names.asked.load(Ordering::SeqCst) > 1, "the name was asked for once");
}

#[tokio::test]
async fn the_next_endpoint_takes_over_and_the_first_is_gone_back_to() {
    let first = Gateway::memory().await;
    let second = Gateway::over(Arc::clone(first.inner()), "").await;
    let proxy = Proxy::start(first.address()).await;
    let bus = connected(patient(proxy.url()).endpoint(second.url())).await;
    register(&bus, "orders").await;
    publish(&bus, "orders").await.unwrap();
    assert_eq!((first.stats().published, second.stats().published), (1, 0));
    proxy.refuse(true);
    proxy.strike(Action::Reset);
    publish(&bus, "orders").await.unwrap();
    assert_eq!((first.stats().published, second.stats().published), (1, 1));
    proxy.refuse(false);
    let mut total = 2;
    while first.stats().published == 1 {
        publish(&bus, "orders").await.unwrap();
        total += 1;
        assert!(total < 3000, "the client never goes back to its first endpoint");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(first.stats().published + second.stats().published, total);
}

#[tokio::test]
async fn a_gateway_that_hangs_gives_way_to_the_next() {
    let first = Gateway::memory().await;
    let second = Gateway::over(Arc::clone(first.inner()), "").await;
    let proxy = Proxy::start(first.address()).await;
    let hasty = patient(proxy.url()).endpoint(second.url()).call_timeout(Duration::from_millis(300));
    let bus = connected(hasty).await;
    register(&bus, "orders").await;
    proxy.strike(Action::Freeze);
    publish(&bus, "orders").await.unwrap();
    assert_eq!(second.stats().published, 1);
}

/// A read without retries: what the first try was answered.
async fn read(bus: &RemoteTransport) -> Result<()> {
    let request = ReadRequest { start: Start::Beginning, limit: 1, max_bytes: 1 };
    timeout(Duration::from_secs(10), bus.read(&event("orders"), request)).await.expect("in time").map(drop)
}

fn is_refused_here(error: &Error) -> bool {
    error.kind() == ErrorKind::Unavailable && error.message().contains("circuit")
}

#[tokio::test]
async fn a_breaker_opens_probes_with_one_call_and_closes() {
    const RECOVERY: Duration = Duration::from_secs(1);
    let gateway = Gateway::memory().await;
    let proxy = Proxy::start(gateway.address()).await;
    let once = patient(proxy.url())
        .retry(1, Duration::from_millis(50), Duration::from_millis(50))
        .circuit_breaker(3, RECOVERY);
    let bus = soon(once.connect()).await.unwrap();
    soon(bus.register(&event("orders"), &EventConfig::default())).await.unwrap();
    proxy.refuse(true);
    proxy.strike(Action::Reset);
    until("the connection is gone", || proxy.open() == 0).await;
    for _ in 0..3 {
        assert!(!is_refused_here(&read(&bus).await.unwrap_err()), "three failures open it, not less");
    }
    let error = read(&bus).await.unwrap_err();
    assert!(is_refused_here(&error), "{error}");
    assert!(error.retry_after().is_some_and(|after| after <= RECOVERY), "{error:?}");
    // Half open: of many, one tries.
    tokio::time::sleep(RECOVERY).await;
    let many = futures_util::future::join_all((0..10).map(|_| read(&bus))).await;
    let tried = many.iter().filter(|answer| !is_refused_here(answer.as_ref().unwrap_err())).count();
    assert_eq!(tried, 1, "{many:?}");
    // A connection is worth one probe, and its answer closes the breaker.
    proxy.refuse(false);
    soon(bus.ready()).await.unwrap();
    let since = Instant::now();
    while read(&bus).await.is_err() {
        assert!(since.elapsed() < 10 * RECOVERY, "it does not close");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for answer in futures_util::future::join_all((0..10).map(|_| read(&bus))).await {
        answer.unwrap();
    }
}

#[tokio::test]
async fn rejections_leave_the_breaker_closed() {
    let gateway = Gateway::memory().await;
    let bus =
        soon(patient(gateway.url()).circuit_breaker(1, Duration::from_secs(600)).connect()).await.unwrap();
    for _ in 0..5 {
        assert_eq!(read(&bus).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
}
