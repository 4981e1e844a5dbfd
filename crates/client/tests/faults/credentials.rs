//! Credentials that run out: asked for again where that helps, and an end at once where it does not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use busgate_client::{ApiKey, Credential, CredentialsProvider};
use busgate_core::{
    ErrorKind, GroupName, Item, Message, MessageId, Result, Start, SubscribeOptions, Subscription, Transport,
};
use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    proxy::{Action, Proxy},
    stage::{Gateway, connected, event, orders, patient, soon},
};

const OLD: &str = "old-key-0123456789";
const NEW: &str = "new-key-0123456789";

/// Whoever comes next is asked for this key.
fn asks_for(key: &str, operations: &str) -> String {
    format!(
        "[[keys]]\nname = \"shop\"\nkey = \"{key}\"\nrules = [{{ operations = [{operations}], events = [\">\"] }}]"
    )
}

/// Gives the key of the day.
#[derive(Clone, Debug)]
struct Vault {
    key: Arc<Mutex<&'static str>>,
    asked: Arc<AtomicUsize>,
}

impl Vault {
    fn new() -> Self {
        Self { key: Arc::new(Mutex::new(OLD)), asked: Arc::default() }
    }
}

#[async_trait]
impl CredentialsProvider for Vault {
    async fn credential(&self) -> Result<Credential> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let key = *self.key.lock();
        Credential::bearer(key)
    }
}

/// A gateway that takes the old key, one over the same back end that does not, and a way from the one to the other.
struct Change {
    proxy: Proxy,
    new: Gateway,
    _old: Gateway,
}

impl Change {
    async fn prepare(operations: &str) -> Self {
        let old = Gateway::memory().await;
        let inner = Arc::clone(old.inner());
        let old = Gateway::over(Arc::clone(&inner), &asks_for(OLD, "\"*\"")).await;
        let new = Gateway::over(inner, &asks_for(NEW, operations)).await;
        Self { proxy: Proxy::start(old.address()).await, new, _old: old }
    }

    /// A client with the old key, and its subscription as a worker.
    async fn worker(&self) -> (Vault, Arc<dyn Transport>, Subscription) {
        let vault = Vault::new();
        let bus = connected(patient(self.proxy.url()).credentials(vault.clone())).await;
        let options = SubscribeOptions::pool(GroupName::default(), Start::Beginning);
        let work = soon(Arc::clone(&bus).subscribe(&orders(&bus).await, options)).await.unwrap();
        (vault, bus, work)
    }

    /// From now on the other key is asked for.
    fn happen(&self) {
        self.proxy.point_at(self.new.address());
        self.proxy.strike(Action::Reset);
    }
}

#[tokio::test]
async fn a_changed_key_is_asked_for_and_streams_come_back() {
    let change = Change::prepare("\"*\"").await;
    let (vault, bus, mut work) = change.worker().await;
    *vault.key.lock() = NEW;
    change.happen();
    let message = Message::new(MessageId::generate(), "payload");
    soon(bus.publish(&event("orders"), vec![message.clone()])).await.pop().unwrap().unwrap();
    match soon(work.next()).await {
        Some(Ok(Item::Delivery(delivery))) => assert_eq!(delivery.message.id, message.id),
        other => panic!("{other:?}"),
    }
    let asked = vault.asked.load(Ordering::SeqCst);
    assert!((2..=4).contains(&asked), "asked {asked} times for two keys");
}

#[tokio::test]
async fn a_key_that_is_refused_for_good_ends_with_unauthenticated_at_once() {
    let change = Change::prepare("\"*\"").await;
    let (vault, bus, mut work) = change.worker().await;
    change.happen();
    let since = Instant::now();
    match soon(work.next()).await {
        Some(Err(error)) => assert_eq!(error.kind(), ErrorKind::Unauthenticated),
        other => panic!("{other:?}"),
    }
    assert!(soon(work.next()).await.is_none(), "an error is the end");
    assert_eq!(soon(bus.events()).await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    assert!(since.elapsed() < Duration::from_secs(5), "it took {:?}", since.elapsed());
    assert!(vault.asked.load(Ordering::SeqCst) < 10, "the vault was asked over and over");
}

#[tokio::test]
async fn a_wrong_key_does_not_connect() {
    let change = Change::prepare("\"*\"").await;
    let since = Instant::now();
    let connecting = patient(change.proxy.url()).credentials(ApiKey::new(NEW).unwrap()).connect();
    assert_eq!(soon(connecting).await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    assert!(since.elapsed() < Duration::from_secs(5), "it took {:?}", since.elapsed());
}

#[tokio::test]
async fn a_key_that_may_not_any_more_ends_with_denied() {
    let change = Change::prepare("\"list\", \"publish\"").await;
    let (vault, bus, mut work) = change.worker().await;
    *vault.key.lock() = NEW;
    change.happen();
    match soon(work.next()).await {
        Some(Err(error)) => assert_eq!(error.kind(), ErrorKind::Denied),
        other => panic!("{other:?}"),
    }
    soon(bus.events()).await.unwrap();
}
