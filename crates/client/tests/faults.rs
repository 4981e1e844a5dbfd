//! The client on a bad network: whatever breaks, and wherever, nothing acked is lost and nothing hangs.

#[cfg(test)]
#[path = "faults/boundaries.rs"]
mod boundaries;
#[cfg(test)]
#[path = "faults/credentials.rs"]
mod credentials;
#[cfg(test)]
#[path = "faults/endpoints.rs"]
mod endpoints;
#[cfg(test)]
#[path = "faults/frame.rs"]
mod frame;
#[cfg(test)]
#[path = "faults/ledger.rs"]
mod ledger;
#[cfg(test)]
#[path = "faults/links.rs"]
mod links;
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
#[path = "faults/random.rs"]
mod random;
#[cfg(test)]
#[path = "faults/restarts.rs"]
mod restarts;
#[cfg(test)]
#[path = "faults/session.rs"]
mod session;
#[cfg(test)]
#[path = "faults/stage.rs"]
mod stage;
#[cfg(test)]
#[path = "faults/subscriptions.rs"]
mod subscriptions;
