//! A gateway in memory with its HTTP doors on a free port.

use std::net::{Ipv4Addr, SocketAddr};

use busgate::{Config, Environment, Server, ServerBuilder, Sources};
use busgate_core::{
    AckStatus, Caller, Cursor, Draft, EventConfig, EventName, Gateway, Operation, Pattern, Receipt, Rule,
    SettleAction, SettleRequest,
};
use busgate_transports_memory::{MemoryConfig, MemoryTransport};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub(crate) struct Gate {
    pub(crate) server: Server,
    /// Who calls the gateway itself.
    pub(crate) caller: Caller,
}

impl Gate {
    /// With every default.
    pub(crate) async fn open() -> Self {
        Self::with(&[], |builder| builder).await
    }

    /// With settings as variables of the environment, and what else the test needs.
    pub(crate) async fn with(
        settings: &[(&str, &str)],
        more: impl FnOnce(ServerBuilder) -> ServerBuilder,
    ) -> Self {
        let variables = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let sources = Sources { environment: Environment::new(variables), ..Sources::none() };
        let config = Config::read(&sources).unwrap();
        let builder = Server::builder()
            .config(config)
            .transport(MemoryTransport::new(MemoryConfig::default()))
            .http(ANY)
            .grpc(ANY);
        Self { server: more(builder).start().await.unwrap(), caller: Caller::anonymous() }
    }

    /// With the keys of `shop` and `stock`: each may do everything on its own events, and on `shared.>`.
    pub(crate) async fn with_keys() -> Self {
        let rules = |own: &str| {
            let rule = |events| Rule {
                operations: vec![
                    Operation::Register,
                    Operation::Subscribe,
                    Operation::Publish,
                    Operation::Ack,
                ],
                events: Pattern::new(events).unwrap(),
            };
            vec![rule(own), rule("shared.>")]
        };
        let keys = |builder: ServerBuilder| {
            builder.key("shop", SHOP, rules("shop.>")).key("stock", STOCK, rules("stock.>"))
        };
        Self { caller: Caller::principal("shop"), ..Self::with(&[], keys).await }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.addresses().http.unwrap()
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        self.server.gateway()
    }

    pub(crate) async fn register(&self, event: &str) {
        self.register_with(event, EventConfig::default()).await;
    }

    pub(crate) async fn register_with(&self, event: &str, config: EventConfig) {
        let event = EventName::new(event).unwrap();
        self.gateway().register(&self.caller, &event, &config).await.unwrap();
    }

    pub(crate) async fn publish(&self, event: &str, payload: impl Into<bytes::Bytes>) -> Receipt {
        let event = EventName::new(event).unwrap();
        let draft = Draft { payload: payload.into(), ..Draft::default() };
        self.gateway().publish_one(&self.caller, &event, draft).await.unwrap()
    }

    pub(crate) async fn publish_all(&self, event: &str, payloads: &[&'static str]) -> Vec<Cursor> {
        let mut cursors = Vec::new();
        for payload in payloads {
            cursors.push(self.publish(event, *payload).await.cursor.unwrap());
        }
        cursors
    }

    /// What an ack from elsewhere gets now.
    pub(crate) async fn ack(&self, ack_id: &str) -> AckStatus {
        let request = SettleRequest { ack_id: ack_id.into(), action: SettleAction::Ack };
        self.gateway().settle(&self.caller, vec![request]).await.unwrap()[0].status
    }

    /// Waits until something is so.
    pub(crate) async fn until(&self, what: &str, so: impl Fn(&Gateway) -> bool) {
        let deadline = tokio::time::Instant::now() + super::client::PATIENCE;
        while !so(self.gateway()) {
            assert!(tokio::time::Instant::now() < deadline, "{what}: never");
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }
}

pub(crate) const SHOP: &str = "shop-key-0123456789";
pub(crate) const STOCK: &str = "stock-key-0123456789";
