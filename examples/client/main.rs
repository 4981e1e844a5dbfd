//! A service on a bus: over `memory:` in its tests, over a gateway in production.
//!
//! With a gateway (`cargo run -- serve`) on this machine: `cargo run -p busgate-client --example client`. Its tests:
//! `cargo test -p busgate-client --example client`.

mod service;

use std::{env, error::Error, sync::Arc};

use busgate_client::{Bus, RemoteTransport, Transport, bus::middleware::Trace};

use self::service::{Order, OrderService, Receipts};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::args().nth(1).unwrap_or_else(|| String::from("http://127.0.0.1:9090"));
    // The one line that differs from the tests.
    let transport = RemoteTransport::connect(url).await?;

    let bus = Bus::builder(transport.clone()).source("shop").publishing(Trace).handling(Trace).build();
    let orders = OrderService::start(&bus, Arc::new(Receipts)).await?;
    for id in 1..=3 {
        let placed = orders.place(&Order { id, customer: String::from("ada"), cents: 100 * id }).await?;
        eprintln!("order {id}: {}", if placed.duplicate { "placed before" } else { "placed" });
    }

    eprintln!("billing orders until ctrl-c");
    tokio::signal::ctrl_c().await?;
    bus.close().await;
    transport.close().await?;
    Ok(())
}
