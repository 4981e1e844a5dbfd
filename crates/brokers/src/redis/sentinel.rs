//! Redis under sentinels, which put the replica in the place of a master that is gone.

use super::{Redis, WITHIN, ask, authority, planned};
use crate::{Broker, Error, Result, free_port, process::wait};

/// What the sentinels call the set.
const NAME: &str = "busgate";
const SENTINELS: usize = 3;

/// A master and a replica of Redis 7.0 under three sentinels.
#[derive(Debug)]
pub struct RedisSentinel {
    servers: [Broker; 2],
    sentinels: Vec<Broker>,
}

impl RedisSentinel {
    /// Starts all five and waits until the sentinels could replace the master.
    ///
    /// # Errors
    /// Where one does not start, or they do not find each other.
    pub fn start() -> Result<Self> {
        let master = Redis::v7_0().line("appendonly yes").line("repl-diskless-sync-delay 0").start()?;
        let port = master.address().port();
        let replica =
            Redis::v7_0().line("appendonly yes").line(format!("replicaof 127.0.0.1 {port}")).start()?;
        let sentinels: Result<Vec<_>> = (0..SENTINELS).map(|_| sentinel(port)).collect();
        let set = Self { servers: [master, replica], sentinels: sentinels? };
        set.ready()?;
        Ok(set)
    }

    /// The first master and its replica.
    #[must_use]
    pub fn servers(&self) -> &[Broker; 2] {
        &self.servers
    }

    /// The sentinels.
    #[must_use]
    pub fn sentinels(&self) -> &[Broker] {
        &self.sentinels
    }

    /// Its URL, as a transport takes it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+sentinel://{}?master={NAME}", authority(&self.sentinels))
    }

    /// The server that the sentinels call the master now.
    ///
    /// # Errors
    /// Where no sentinel answers, or they name a stranger.
    pub fn master(&self) -> Result<&Broker> {
        let told = self.ask(&["SENTINEL", "get-master-addr-by-name", NAME])?;
        let port = told.lines().last().and_then(|port| port.parse().ok());
        let found = self.servers.iter().find(|server| Some(server.address().port()) == port);
        found.ok_or_else(|| Error::new(format!("the sentinels name a stranger: {told}")))
    }

    /// Has the replica and the master change places, and waits until they have.
    ///
    /// # Errors
    /// Where the sentinels refuse, or that takes too long.
    pub fn fail_over(&self) -> Result<()> {
        let before = self.master()?.address();
        self.ask(&["SENTINEL", "FAILOVER", NAME])?;
        wait("a failover", WITHIN, || Ok(self.master()?.address() != before))
    }

    fn ready(&self) -> Result<()> {
        let others = format!("num-other-sentinels\n{}", SENTINELS - 1);
        wait("the sentinels know all", WITHIN, || {
            let mut told =
                self.sentinels.iter().map(|it| ask(it.address().port(), &["SENTINEL", "MASTER", NAME]));
            told.try_fold(true, |all, told| {
                let told = told?;
                Ok(all && told.contains("num-slaves\n1") && told.contains(&others))
            })
        })
    }

    fn ask(&self, command: &[&str]) -> Result<String> {
        let running = self.sentinels.iter().find(|sentinel| sentinel.id().is_some());
        ask(running.ok_or_else(|| Error::new("no sentinel runs"))?.address().port(), command)
    }
}

fn sentinel(master: u16) -> Result<Broker> {
    Broker::start_by(|folder| {
        let port = free_port()?;
        let conf = format!(
            "bind 127.0.0.1\nport {port}\ndir data\nsentinel monitor {NAME} 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds {NAME} 1000\nsentinel failover-timeout {NAME} 5000\n"
        );
        let mut plan = planned(folder, "brokers/redis-7.0/redis-server", port, &conf)?;
        plan.arguments.push("--sentinel".into());
        Ok(super::Plan { name: "sentinel", ready: "+monitor master", ..plan })
    })
}
