//! A gateway of a test's own, in this process.

use std::net::SocketAddr;

use busgate::{Config, Environment, Server, Sources};
use busgate_core::EventConfig;

use crate::client::{Answer, Call};

/// The keys that tests use: `shop` may do everything with `orders.…`, `clerk` may only read it.
pub(crate) const KEYS: &str = r#"
    [[keys]]
    name = "shop"
    key = "shop-key-0123456789"
    rules = [{ operations = ["*"], events = ["orders.>"] }]
    [[keys]]
    name = "clerk"
    key = "clerk-key-0123456789"
    rules = [{ operations = ["subscribe", "ack", "list"], events = ["orders.>"] }]
"#;
pub(crate) const SHOP: &str = "Bearer shop-key-0123456789";
pub(crate) const CLERK: &str = "Bearer clerk-key-0123456789";

pub(crate) struct Gate {
    pub(crate) server: Server,
}

impl Gate {
    pub(crate) async fn open() -> Self {
        Self::with("").await
    }

    /// With these lines in the configuration file.
    pub(crate) async fn with(lines: &str) -> Self {
        let head = "transport = \"memory:\"\nhttp = \"127.0.0.1:0\"\ngrpc = \"127.0.0.1:0\"\n";
        let sources = Sources {
            file: Some(("test.toml".into(), format!("{head}{lines}"))),
            environment: Environment::default(),
            flags: Vec::new(),
        };
        let config = Config::read(&sources).unwrap();
        Self { server: Server::builder().config(config).start().await.unwrap() }
    }

    /// With routes of the test's own beside the doors.
    pub(crate) async fn with_routes(routes: axum::Router) -> Self {
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let transport = "memory:".parse::<busgate::TransportUrl>().unwrap();
        let transport =
            transport.open(busgate_core::SystemClock::shared(), &EventConfig::default()).await.unwrap();
        Self {
            server: Server::builder().transport(transport).http(any).routes(routes).start().await.unwrap(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.addresses().http.unwrap()
    }

    pub(crate) fn call(&self, method: &str, path: &str) -> Call {
        Call::new(self.address(), method, path)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path).send().await
    }

    pub(crate) async fn post(&self, path: &str, json: &str) -> Answer {
        self.call("POST", path).header("content-type", "application/json").body(json.to_owned()).send().await
    }

    /// Registers an event.
    pub(crate) async fn register(&self, event: &str) {
        assert_eq!(self.post(&format!("/v1/events/{event}"), "").await.status, 200);
    }

    /// Publishes text and answers its cursor.
    pub(crate) async fn publish(&self, event: &str, text: &str) -> String {
        let path = format!("/v1/events/{event}/messages");
        let call = self.call("POST", &path).header("content-type", "text/plain").body(text.to_owned());
        call.send().await.expect(200)["cursor"].as_str().unwrap().to_owned()
    }
}
