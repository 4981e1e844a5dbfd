//! What a Kafka is told: one node, as quick and small as it goes.

use std::path::Path;

use super::Listener;

/// Replication and topics of its own for a single node; sessions short, so that a test does not wait for them; few
/// threads, and what runs in the background often.
const FIXED: &str = "\
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:1
inter.broker.listener.name=PLAINTEXT
auto.create.topics.enable=false
num.partitions=1
default.replication.factor=1
min.insync.replicas=1
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=100
group.consumer.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=100
group.consumer.session.timeout.ms=6000
group.consumer.heartbeat.interval.ms=500
broker.heartbeat.interval.ms=100
broker.session.timeout.ms=9000
num.network.threads=1
num.io.threads=2
background.threads=2
log.cleaner.dedupe.buffer.size=4194304
log.cleaner.backoff.ms=500
log.retention.check.interval.ms=500
log.initial.task.delay.ms=100
";

/// The whole of `server.properties`.
pub(super) fn text(port: u16, data: &Path, listeners: &[Listener]) -> String {
    let own = format!("PLAINTEXT://127.0.0.1:{port}");
    let (mut bound, mut advertised) = (vec![own.clone(), "CONTROLLER://127.0.0.1:0".into()], vec![own]);
    let mut protocols = vec!["PLAINTEXT:PLAINTEXT".to_owned(), "CONTROLLER:PLAINTEXT".into()];
    for listener in listeners {
        let name = if listener.protocol == "PLAINTEXT" { "OTHER" } else { listener.protocol };
        bound.push(format!("{name}://127.0.0.1:{}", listener.port));
        advertised.push(format!("{name}://{}", listener.advertised));
        protocols.push(format!("{name}:{}", listener.protocol));
    }
    let (bound, advertised, protocols) = (bound.join(","), advertised.join(","), protocols.join(","));
    format!(
        "{FIXED}listeners={bound}\nadvertised.listeners={advertised}\n\
         listener.security.protocol.map={protocols}\nlog.dirs={}\n",
        data.display()
    )
}
