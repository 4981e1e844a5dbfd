//! The client on a bad network: whatever breaks, and wherever, nothing acked is lost and nothing hangs.
#![allow(dead_code, reason = "each law uses its part of the stage")]

#[cfg(test)]
#[path = "faults/frame.rs"]
mod frame;
#[cfg(test)]
#[path = "faults/ledger.rs"]
mod ledger;
#[cfg(test)]
#[path = "faults/load.rs"]
mod load;
#[cfg(test)]
#[path = "faults/proxy.rs"]
mod proxy;
#[cfg(test)]
#[path = "faults/proxy_laws.rs"]
mod proxy_laws;
#[cfg(test)]
#[path = "faults/session.rs"]
mod session;
#[cfg(test)]
#[path = "faults/toxiproxy.rs"]
mod toxiproxy;
