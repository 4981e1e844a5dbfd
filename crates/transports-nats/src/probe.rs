//! Health as found by doing: publish, deliver and ack on a stream nobody else looks at.

use std::time::Duration;

use busgate_core::{Error, Health, MessageId, Result};
use serde_json::json;
use tokio::time::timeout;

use crate::{
    api::StreamConfig,
    delivery::DONE,
    error,
    node::Node,
    pull::{Heard, Puller},
    stream,
};

/// How long a probe may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the server keeps a node's consumer of probes.
const IDLE_NANOS: u64 = 120_000_000_000;

/// How many probes of all nodes are held.
const PROBES: i64 = 64;

impl Node {
    /// Tries the data path.
    pub(crate) async fn health(&self) -> Health {
        match timeout(PATIENCE, self.probe()).await {
            Ok(Ok(())) => {
                let server = self.link.client.server_info();
                Health::healthy().with("server", &server.version).with("server_name", &server.server_name)
            }
            Ok(Err(error)) => Health::unhealthy(error.message()),
            Err(_) => Health::unhealthy("a probe did not come through in time"),
        }
    }

    async fn probe(&self) -> Result<()> {
        self.link.check()?;
        let subject = format!("{}_busgate.probe", self.config.prefix);
        let description = "busgate tries its way through jetstream here";
        let own = stream::own("probe", description, subject.clone(), &self.config);
        let mut ack = self.send_probe(&subject).await;
        if ack.is_err() {
            self.link.ensure_stream(&StreamConfig { max_msgs: PROBES, ..own.clone() }).await?;
            ack = self.send_probe(&subject).await;
        }
        let (stream, consumer) = (own.name, format!("p-{:x}", self.owner));
        let sequence = ack?;
        let config = json!({
            "name": consumer,
            "ack_policy": "explicit",
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": sequence,
            "mem_storage": true,
            "num_replicas": 1,
            "inactive_threshold": IDLE_NANOS,
            "replay_policy": "instant",
        });
        self.link.create_consumer(&stream, &consumer, &config).await?.map_err(error::api)?;
        let received = self.receive_probe(&stream, &consumer).await;
        self.link.drop_consumer(&stream, &consumer);
        received
    }

    async fn send_probe(&self, subject: &str) -> Result<u64> {
        let id = MessageId::generate();
        let sent = self.link.context.publish(subject.to_owned(), id.as_str().to_owned().into()).await;
        let ack = sent.map_err(error::publish)?.await.map_err(error::publish)?;
        Ok(ack.sequence)
    }

    async fn receive_probe(&self, stream: &str, consumer: &str) -> Result<()> {
        let mut puller = Puller::open(&self.link, stream, consumer).await?;
        puller.ask(1).await?;
        loop {
            match puller.next().await? {
                Heard::Message(message) => {
                    let reply = message.reply.ok_or_else(|| Error::internal("a probe can't be acked"))?;
                    return self.link.ask(reply, DONE).await.map(drop);
                }
                Heard::Nothing | Heard::Trouble => {}
                Heard::Gone => return Err(error::no_jetstream()),
            }
        }
    }
}
