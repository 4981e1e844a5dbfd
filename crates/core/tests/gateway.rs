//! The gateway over the memory transport: authorization, sessions, settling, replay to live, draining.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]

#[path = "gateway/admission.rs"]
mod admission;
#[path = "gateway/cut.rs"]
mod cut;
#[path = "gateway/drain.rs"]
mod drain;
#[path = "gateway/live.rs"]
mod live;
#[path = "gateway/nodes.rs"]
mod nodes;
#[path = "gateway/odd.rs"]
mod odd;
#[path = "gateway/pattern.rs"]
mod pattern;
#[path = "gateway/races.rs"]
mod races;
#[path = "gateway/settle.rs"]
mod settle;
#[path = "gateway/slow.rs"]
mod slow;
#[path = "gateway/stage.rs"]
mod stage;
