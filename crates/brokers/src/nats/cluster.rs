//! NATS servers that keep streams together.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use super::{Nats, WITHIN};
use crate::{Broker, Error, Result, free_port, place::local, process::wait};

/// How often they are started on other ports.
const TRIES: usize = 5;

/// How long an answer about its health may take.
const PROBE: Duration = Duration::from_secs(2);

/// NATS 2.15 servers as one cluster.
#[derive(Debug)]
pub struct NatsCluster {
    nodes: Vec<Broker>,
    monitors: Vec<u16>,
}

impl NatsCluster {
    /// Starts `size` of them and waits until JetStream serves on each.
    ///
    /// # Errors
    /// Where one does not start, or they do not find each other.
    pub fn start(size: usize) -> Result<Self> {
        Self::start_on(size, free_port)
    }

    /// Starts them, all with other ports when one of the first is taken by then: each node is told those of all.
    fn start_on(size: usize, mut port: impl FnMut() -> Result<u16>) -> Result<Self> {
        let mut refused = Error::new("never tried");
        for _ in 0..TRIES {
            match Self::try_start(size, &mut port) {
                Ok(cluster) => return Ok(cluster),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    fn try_start(size: usize, mut port: impl FnMut() -> Result<u16>) -> Result<Self> {
        let mut ports = || (0..size).map(|_| port()).collect::<Result<Vec<_>>>();
        let (routes, monitors) = (ports()?, ports()?);
        let nodes = routes.iter().zip(&monitors).enumerate().map(|(at, (route, monitor))| {
            let others: Vec<_> = routes.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
            let nats = Nats::v2_15().line(&format!(
                "server_name: n{at}\nhttp: \"127.0.0.1:{monitor}\"\ncluster {{\n name: busgate\n \
                 listen: \"127.0.0.1:{route}\"\n routes: {others:?}\n}}"
            ));
            Broker::start_by(|folder| nats.plan(folder, free_port()?))
        });
        let cluster = Self { nodes: nodes.collect::<Result<_>>()?, monitors };
        cluster.settled()?;
        Ok(cluster)
    }

    /// Its nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Broker] {
        &self.nodes
    }

    /// Its URL, as a transport takes it.
    #[must_use]
    pub fn url(&self) -> String {
        let addresses: Vec<String> = self.nodes.iter().map(|node| node.address().to_string()).collect();
        format!("nats://{}", addresses.join(","))
    }

    /// Waits until JetStream is in good health on every node that runs.
    ///
    /// # Errors
    /// Where that takes too long.
    pub fn settled(&self) -> Result<()> {
        let running = || self.nodes.iter().zip(&self.monitors).filter(|(node, _)| node.id().is_some());
        wait("JetStream serves on every node", WITHIN, || {
            self.nodes.iter().try_for_each(Broker::check)?;
            Ok(running().all(|(_, monitor)| healthy(*monitor).is_ok_and(|healthy| healthy)))
        })
    }
}

fn healthy(monitor: u16) -> Result<bool> {
    let exchange = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(local(monitor))?;
        stream.set_read_timeout(Some(PROBE))?;
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    Ok(exchange().map_err(Error::during("its health"))?.split(' ').nth(1) == Some("200"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn a_port_that_is_taken_by_then_is_none_of_the_next_try() {
        for (nth, what) in [(1, "a route's"), (4, "a monitor's")] {
            let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let mut asked = 0;
            let ports = || {
                asked += 1;
                if asked == nth { Ok(taken.local_addr().unwrap().port()) } else { free_port() }
            };
            let cluster = NatsCluster::start_on(3, ports).unwrap();
            assert_eq!(cluster.nodes().len(), 3, "{what}");
            assert!(asked > 6, "{what}");
        }
    }
}
