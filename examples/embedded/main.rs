//! A gateway inside another program: its own authorizer, keys by role, and publishing without a door.
//!
//! `cargo run --example embedded`, then
//! `curl -N -H 'x-api-key: viewer-key-0123456789' localhost:8080/v1/events/ticks/stream?encoding=text`.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use busgate::Server;
use busgate_core::{
    Authorizer, Caller, Draft, Error, ErrorKind, EventConfig, EventName, Operation, Pattern, Result,
};
use busgate_transports_memory::{MemoryConfig, MemoryTransport};

/// Viewers read; the program itself does everything.
#[derive(Debug)]
struct Roles;

#[async_trait]
impl Authorizer for Roles {
    async fn authorize(&self, caller: &Caller, operation: Operation, target: &Pattern) -> Result<()> {
        let allowed = match caller.name() {
            "program" => true,
            "viewer" => matches!(operation, Operation::Subscribe | Operation::Ack | Operation::List),
            _ => false,
        };
        if allowed {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Denied, format!("{} may not {operation} {target}", caller.name())))
    }
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder()
        .transport(MemoryTransport::new(MemoryConfig::default()))
        .authorizer(Arc::new(Roles))
        .key("viewer", "viewer-key-0123456789", Vec::new())
        .http(([127, 0, 0, 1], 8080).into())
        .grpc(([127, 0, 0, 1], 9090).into())
        .start()
        .await?;

    let (gateway, program) = (server.gateway().clone(), Caller::principal("program"));
    let ticks = EventName::new("ticks")?;
    gateway.register(&program, &ticks, &EventConfig::default()).await?;

    let publish = async {
        for tick in 0_u64.. {
            let draft = Draft { payload: format!("tick {tick}").into(), ..Draft::default() };
            gateway.publish_one(&program, &ticks, draft).await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok::<(), Error>(())
    };
    tokio::select! {
        failed = publish => failed?,
        stopped = tokio::signal::ctrl_c() => stopped?,
    }
    server.shutdown().await?;
    Ok(())
}
