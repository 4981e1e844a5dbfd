//! What a stranger can write, tried with bytes of every kind: requests, frames, queries, bodies, ids, files.
//!
//! A [`Target`] takes any bytes and panics when a law is broken: nobody's bytes make the gateway panic, what is accepted
//! is written and read back as it was, what is refused is refused as an error that a client may see, and nothing forged
//! or damaged is taken for genuine. The test `laws` runs every target over its corpus and over mutations of it;
//! `cargo xtask fuzz` has libFuzzer look further.

mod ack_ids;
mod answers;
mod bodies;
mod configuration;
mod cursors;
mod damage;
mod errors;
mod event_stream;
mod frames;
mod input;
mod leases;
mod outgoing;
mod places;
mod queries;
mod records;
mod requests;
mod stage;

/// A law about bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What it is called; its corpus is the folder of that name.
    pub name: &'static str,
    /// Tries some bytes.
    ///
    /// # Panics
    /// When they break a law.
    pub run: fn(&[u8]),
    /// How many mutations a test tries: a second or two of them.
    pub mutations: usize,
}

/// Every target.
pub const TARGETS: [Target; 13] = [
    target("ack_ids", ack_ids::run, 4_000),
    target("answers", answers::run, 20_000),
    target("bodies", bodies::run, 20_000),
    target("configuration", configuration::run, 1_000),
    target("cursors", cursors::run, 2_000),
    target("damage", damage::run, 300),
    target("frames", frames::run, 10_000),
    target("leases", leases::run, 4_000),
    target("outgoing", outgoing::run, 4_000),
    target("places", places::run, 40_000),
    target("queries", queries::run, 20_000),
    target("records", records::run, 20_000),
    target("requests", requests::run, 20_000),
];

const fn target(name: &'static str, run: fn(&[u8]), mutations: usize) -> Target {
    Target { name, run, mutations }
}

/// The target with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
