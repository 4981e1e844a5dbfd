//! The gRPC door, through its port.

#[path = "grpc/acks.rs"]
mod acks;
#[path = "grpc/bytes.rs"]
mod bytes;
#[path = "grpc/commands.rs"]
mod commands;
#[path = "grpc/consume.rs"]
mod consume;
#[path = "grpc/errors.rs"]
mod errors;
#[path = "grpc/gateway.rs"]
mod gateway;
#[path = "grpc/go_client.rs"]
mod go_client;
#[path = "grpc/leaving.rs"]
mod leaving;
#[path = "grpc/publish.rs"]
mod publish;
#[path = "grpc/services.rs"]
mod services;
#[path = "grpc/subscribe.rs"]
mod subscribe;
#[path = "grpc/web.rs"]
mod web;
