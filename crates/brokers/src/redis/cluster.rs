//! Redis Cluster: masters that share the slots, if need be with replicas.

use super::{Redis, WITHIN, ask, authority};
use crate::{Broker, Error, Result, free_port, process::wait};

const SLOTS: usize = 16_384;

/// Masters of Redis 7.0 that share all slots, each with as many replicas as wanted.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Broker>,
    masters: usize,
}

impl RedisCluster {
    /// Starts `masters` of them, each with `replicas`, and waits until every node sees the whole.
    ///
    /// # Errors
    /// Where one does not start, or they do not find each other.
    pub fn start(masters: usize, replicas: usize) -> Result<Self> {
        let nodes: Result<Vec<_>> = (0..masters * (1 + replicas)).map(|_| node()).collect();
        let cluster = Self { nodes: nodes?, masters };
        cluster.share_slots()?;
        cluster.meet()?;
        cluster.follow()?;
        cluster.settled()?;
        Ok(cluster)
    }

    /// Its nodes, the masters first.
    #[must_use]
    pub fn nodes(&self) -> &[Broker] {
        &self.nodes
    }

    /// Its URL, as a transport takes it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+cluster://{}", authority(&self.nodes))
    }

    /// Waits until every node that runs sees all slots served.
    ///
    /// # Errors
    /// Where that takes too long.
    pub fn settled(&self) -> Result<()> {
        let running = || self.nodes.iter().filter(|node| node.id().is_some());
        let told = format!("cluster_known_nodes:{}", self.nodes.len());
        wait("the cluster serves all slots", WITHIN, || {
            let mut answers = running().map(|node| ask(node.address().port(), &["CLUSTER", "INFO"]));
            answers.try_fold(true, |all, answer| {
                let answer = answer?;
                Ok(all && answer.contains("cluster_state:ok") && answer.contains(&told))
            })
        })
    }

    /// Waits until the first replica of a master that was killed serves in its place.
    ///
    /// # Errors
    /// Where it has none, or that takes too long.
    pub fn replaced(&self, master: usize) -> Result<()> {
        let replica = self.nodes.get(self.masters + master).ok_or_else(|| Error::new("it has no replica"))?;
        wait("a replica in the place of its master", WITHIN, || {
            Ok(ask(replica.address().port(), &["ROLE"])?.starts_with("master"))
        })?;
        self.settled()
    }

    fn share_slots(&self) -> Result<()> {
        for (at, master) in self.nodes.iter().take(self.masters).enumerate() {
            let (first, next) = (at * SLOTS / self.masters, (at + 1) * SLOTS / self.masters);
            let range = [first.to_string(), (next - 1).to_string()];
            ask(master.address().port(), &["CLUSTER", "ADDSLOTSRANGE", &range[0], &range[1]])?;
            // Epochs of their own, so that they agree on who has what at once.
            ask(master.address().port(), &["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()])?;
        }
        Ok(())
    }

    fn meet(&self) -> Result<()> {
        let [first, others @ ..] = self.nodes.as_slice() else {
            return Err(Error::new("a cluster has nodes"));
        };
        let port = first.address().port().to_string();
        let bus = ask(first.address().port(), &["CONFIG", "GET", "cluster-port"])?;
        let bus = bus.lines().last().unwrap_or_default();
        for node in others {
            ask(node.address().port(), &["CLUSTER", "MEET", "127.0.0.1", &port, bus])?;
        }
        Ok(())
    }

    fn follow(&self) -> Result<()> {
        let (masters, replicas) = self.nodes.split_at(self.masters);
        for (replica, master) in replicas.iter().zip(masters.iter().cycle()) {
            let id = ask(master.address().port(), &["CLUSTER", "MYID"])?;
            // Refused until the two have met.
            let port = replica.address().port();
            wait("a replica knows its master", WITHIN, || {
                Ok(ask(port, &["CLUSTER", "REPLICATE", &id]).is_ok())
            })?;
            // A replica that never had the data of its master does not take its place.
            wait("a replica has the data of its master", WITHIN, || {
                Ok(ask(port, &["INFO", "replication"])?.contains("master_link_status:up"))
            })?;
        }
        Ok(())
    }
}

fn node() -> Result<Broker> {
    Broker::start_by(|folder| {
        let redis = Redis::v7_0()
            .line("cluster-enabled yes")
            .line("cluster-config-file nodes.conf")
            .line("cluster-node-timeout 1500")
            .line("repl-diskless-sync-delay 0")
            .line(format!("cluster-port {}", free_port()?))
            .line("appendonly yes");
        redis.plan(folder, free_port()?)
    })
}
