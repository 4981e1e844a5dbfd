//! The gate before judges who know nothing of it but the standards: OpenAPI, HTTP/2, and hostile sockets.
//!
//! `cargo xtask tools` installs the judges; a missing one fails the test. `cargo xtask judge` lets them take their time.

#[cfg(test)]
#[path = "judges/floods.rs"]
mod floods;
#[cfg(test)]
#[path = "judges/gateway.rs"]
mod gateway;
#[cfg(test)]
#[path = "judges/h2spec.rs"]
mod h2spec;
#[cfg(test)]
#[path = "judges/hostile.rs"]
mod hostile;
#[cfg(test)]
#[path = "judges/raw.rs"]
mod raw;
#[cfg(test)]
#[path = "judges/schemathesis.rs"]
mod schemathesis;
#[cfg(test)]
#[path = "judges/vitals.rs"]
mod vitals;
