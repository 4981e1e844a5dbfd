//! The gRPC door, through its port.

#[cfg(test)]
#[path = "grpc/acks.rs"]
mod acks;
#[cfg(test)]
#[path = "grpc/bytes.rs"]
mod bytes;
#[cfg(test)]
#[path = "grpc/chained.rs"]
mod chained;
#[cfg(test)]
#[path = "grpc/commands.rs"]
mod commands;
#[cfg(test)]
#[path = "grpc/consume.rs"]
mod consume;
#[cfg(test)]
#[path = "grpc/errors.rs"]
mod errors;
#[cfg(test)]
#[path = "grpc/gateway.rs"]
mod gateway;
#[cfg(test)]
#[path = "grpc/go_client.rs"]
mod go_client;
#[cfg(test)]
#[path = "grpc/leaving.rs"]
mod leaving;
#[cfg(test)]
#[path = "grpc/looking.rs"]
mod looking;
#[cfg(test)]
#[path = "grpc/pings.rs"]
mod pings;
#[cfg(test)]
#[path = "grpc/publish.rs"]
mod publish;
#[cfg(test)]
#[path = "grpc/services.rs"]
mod services;
#[cfg(test)]
#[path = "grpc/subscribe.rs"]
mod subscribe;
#[cfg(test)]
#[path = "grpc/web.rs"]
mod web;
