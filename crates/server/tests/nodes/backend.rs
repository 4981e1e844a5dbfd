//! The brokers that the laws are about: the shared one of each kind, or one of a test's own.

use std::net::SocketAddr;

use busgate_brokers::{
    Broker, Kafka, Kind, Link, Listener, Nats, NatsCluster, Redis, Toxiproxy, free_port, shared,
};
use busgate_core::MessageId;

/// Which broker.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Backend {
    Redis,
    Nats,
    Kafka,
}

/// A broker that may be killed.
#[derive(Debug)]
pub(crate) enum Lasting {
    One(Broker),
    Cluster(NatsCluster),
}

impl Lasting {
    pub(crate) fn url(&self) -> String {
        match self {
            Self::One(broker) => broker.url(),
            Self::Cluster(cluster) => format!("{}?replicas=3", cluster.url()),
        }
    }

    /// Kills one of its servers, the `at`th of several, and starts it again.
    pub(crate) fn strike(&self, at: usize) {
        let broker = match self {
            Self::One(broker) => broker,
            Self::Cluster(cluster) => &cluster.nodes()[at],
        };
        broker.kill().unwrap();
        broker.start().unwrap();
        if let Self::Cluster(cluster) = self {
            cluster.settled().unwrap();
        }
    }
}

impl Backend {
    /// The shared server, with names that no other test has.
    pub(crate) fn shared(self) -> String {
        let kind = match self {
            Self::Redis => Kind::Redis70,
            Self::Nats => Kind::Nats215,
            Self::Kafka => Kind::Kafka,
        };
        format!("{}?prefix=t{}.", shared(kind), MessageId::generate())
    }

    /// What it is called in the metrics.
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Nats => "nats",
            Self::Kafka => "kafka",
        }
    }

    /// A server that keeps what it answered, also when it is killed.
    pub(crate) fn own(self) -> Broker {
        match self {
            Self::Redis => Redis::v7_0().durable().start(),
            Self::Nats => Nats::v2_15().durable().start(),
            Self::Kafka => Kafka::new().start(),
        }
        .unwrap()
    }

    /// What keeps all it answered when one of its servers is killed. A NATS on its own writes down later what was acked.
    pub(crate) fn lasting(self) -> Lasting {
        match self {
            Self::Redis | Self::Kafka => Lasting::One(self.own()),
            Self::Nats => Lasting::Cluster(NatsCluster::start(3).unwrap()),
        }
    }

    /// A server and a link to it; the URL leads over the link.
    pub(crate) fn linked(self, toxiproxy: &Toxiproxy) -> (Broker, Link<'_>, String) {
        let link = |to: SocketAddr| toxiproxy.link("broker", to).unwrap();
        let (broker, link) = match self {
            Self::Redis | Self::Nats => {
                let broker = self.own();
                let link = link(broker.address());
                (broker, link)
            }
            // A Kafka tells its clients where to find it.
            Self::Kafka => {
                let port = free_port().unwrap();
                let link = link(([127, 0, 0, 1], port).into());
                let listener = Listener { protocol: "PLAINTEXT", port, advertised: link.address() };
                (Kafka::new().listener(listener).start().unwrap(), link)
            }
        };
        let url = broker.url_at(link.address());
        (broker, link, url)
    }
}
