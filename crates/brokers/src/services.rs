//! The servers that all tests share, held by whoever runs the tests.

use std::thread;

use crate::{Broker, Error, Kafka, Kind, Nats, NatsCluster, Redis, RedisCluster, RedisSentinel, Result};

/// Running servers; dropped, they end.
#[derive(Debug)]
pub struct Services(Vec<(Kind, Service)>);

/// One server, or one set.
#[derive(Debug)]
enum Service {
    One(Broker),
    RedisCluster(RedisCluster),
    RedisSentinel(Box<RedisSentinel>),
    NatsCluster(NatsCluster),
}

impl Services {
    /// Starts a server of each kind, all at the same time.
    ///
    /// # Errors
    /// Where one does not start; the others have ended then.
    pub fn start(kinds: &[Kind]) -> Result<Self> {
        let started = thread::scope(|scope| {
            let starting: Vec<_> =
                kinds.iter().map(|kind| (*kind, scope.spawn(|| Service::start(*kind)))).collect();
            let ended = starting.into_iter().map(|(kind, thread)| (kind, thread.join()));
            ended
                .map(|(kind, service)| match service {
                    Ok(service) => Ok((kind, service.map_err(Error::during(kind))?)),
                    Err(_) => Err(Error::new(format!("{kind}: its start broke off"))),
                })
                .collect::<Result<_>>()
        });
        started.map(Self)
    }

    /// The environment variables by which tests find them.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.0.iter().map(|(kind, service)| (kind.variable(), service.url()))
    }
}

impl Service {
    fn start(kind: Kind) -> Result<Self> {
        Ok(match kind {
            Kind::Redis70 => Self::One(Redis::v7_0().start()?),
            Kind::Redis82 => Self::One(Redis::v8_2().start()?),
            Kind::Valkey9 => Self::One(Redis::valkey_9().start()?),
            Kind::RedisCluster => Self::RedisCluster(RedisCluster::start(3, 0)?),
            Kind::RedisSentinel => Self::RedisSentinel(Box::new(RedisSentinel::start()?)),
            Kind::Nats215 => Self::One(Nats::v2_15().start()?),
            Kind::Nats29 => Self::One(Nats::v2_9().start()?),
            Kind::NatsCluster => Self::NatsCluster(NatsCluster::start(3)?),
            Kind::Kafka => Self::One(Kafka::new().start()?),
        })
    }

    fn url(&self) -> String {
        match self {
            Self::One(broker) => broker.url(),
            Self::RedisCluster(cluster) => cluster.url(),
            Self::RedisSentinel(set) => set.url(),
            Self::NatsCluster(cluster) => cluster.url(),
        }
    }
}
