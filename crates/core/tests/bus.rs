//! The typed bus over the memory transport: what handlers are given, and what becomes of what they answer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]

#[path = "bus/handle.rs"]
mod handle;
#[path = "bus/middleware.rs"]
mod middleware;
#[path = "bus/order.rs"]
mod order;
#[path = "bus/publish.rs"]
mod publish;
#[path = "bus/stage.rs"]
mod stage;
#[path = "bus/stop.rs"]
mod stop;
