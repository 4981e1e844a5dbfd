//! Credentials: what is shown, and when it is asked for again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use busgate_client::{ApiKey, Credential, CredentialsProvider, ErrorKind, Result, Transport};

use crate::stage::{Staged, address, any, client, gateway_at, orders, publish, soon};

const KEYS: &str = r#"
[[keys]]
name = "shop"
key = "the-right-key-0123456789"
rules = [{ operations = ["*"], events = [">"] }]
"#;

/// Gives `keys` one after the other, the last one for ever.
#[derive(Clone, Debug)]
struct Rotating {
    keys: Vec<&'static str>,
    asked: Arc<AtomicUsize>,
    valid: Option<Duration>,
}

impl Rotating {
    fn new(keys: &[&'static str]) -> Self {
        Self { keys: keys.into(), asked: Arc::default(), valid: None }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl CredentialsProvider for Rotating {
    async fn credential(&self) -> Result<Credential> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        let credential = Credential::bearer(self.keys[number.min(self.keys.len() - 1)])?;
        Ok(match self.valid {
            Some(valid) => credential.valid_for(valid),
            None => credential,
        })
    }
}

const RIGHT: &str = "the-right-key-0123456789";
const WRONG: &str = "a-wrong-key-0123456789";

#[tokio::test]
async fn a_refused_credential_is_asked_for_again_once() {
    let server = gateway_at(any(), &Staged::new(), KEYS).await;
    let keys = Rotating::new(&[WRONG, RIGHT]);
    let builder = client(format!("http://{}", address(&server))).credentials(keys.clone());
    let transport = soon(builder.connect()).await.unwrap();
    soon(transport.events()).await.unwrap();
    assert_eq!(keys.asked(), 2);
}

#[tokio::test]
async fn one_that_stays_refused_ends_with_the_error() {
    let server = gateway_at(any(), &Staged::new(), KEYS).await;
    let keys = Rotating::new(&[WRONG, "another-wrong-key-0123456789", RIGHT]);
    let builder = client(format!("http://{}", address(&server))).credentials(keys.clone());
    let error = soon(builder.connect()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert_eq!(keys.asked(), 2);
}

#[tokio::test]
async fn an_expired_credential_is_asked_for_again_also_for_publishes() {
    let server = gateway_at(any(), &Staged::new(), KEYS).await;
    let keys = Rotating { valid: Some(Duration::ZERO), ..Rotating::new(&[RIGHT]) };
    let builder = client(format!("http://{}", address(&server))).credentials(keys.clone());
    let transport = soon(builder.connect()).await.unwrap();
    let event = orders(&transport).await;
    for id in ["one", "two"] {
        let before = keys.asked();
        publish(&transport, &event, id).await.unwrap();
        assert!(keys.asked() > before);
    }
}

#[tokio::test]
async fn a_key_is_shown_and_never_logged() {
    let server = gateway_at(any(), &Staged::new(), KEYS).await;
    let builder = client(format!("http://{}", address(&server))).credentials(ApiKey::new(RIGHT).unwrap());
    assert!(!format!("{builder:?}").contains(RIGHT));
    let transport = soon(builder.connect()).await.unwrap();
    soon(transport.events()).await.unwrap();
    assert!(!format!("{transport:?}").contains(RIGHT));
}

#[tokio::test]
async fn without_a_credential_a_gateway_with_keys_refuses() {
    let server = gateway_at(any(), &Staged::new(), KEYS).await;
    let error = soon(client(format!("http://{}", address(&server))).connect()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
}
