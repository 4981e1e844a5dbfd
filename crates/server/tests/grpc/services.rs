//! What else is on the port: health and reflection.

use std::time::Duration;

use busgate_core::ErrorKind;
use busgate_wire::proto::event::v1::{HealthRequest, HealthStatus};
use tonic::{Code, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{
    v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    },
    v1alpha,
};

use crate::gateway::{Gateway, failure, soon, told};

async fn health(gateway: &Gateway) -> HealthClient<Channel> {
    HealthClient::new(gateway.endpoint().connect().await.unwrap())
}

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.into() }
}

#[tokio::test]
async fn health_is_what_the_transport_is() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    let answer = client.health(HealthRequest {}).await.unwrap().into_inner();
    assert_eq!((answer.status(), answer.message.as_str()), (HealthStatus::Healthy, "ok"));
    gateway.gateway().drain(Duration::ZERO).await;
    let answer = client.health(HealthRequest {}).await.unwrap().into_inner();
    assert_eq!((answer.status(), answer.message.as_str()), (HealthStatus::Unhealthy, "draining"));
}

#[tokio::test]
async fn a_check_follows_readiness() {
    let gateway = Gateway::start().await;
    let mut client = health(&gateway).await;
    for service in ["", "event.v1.EventService"] {
        let answer = client.check(of(service)).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
    }
    assert_eq!(failure(client.check(of("nobody")).await), (Code::NotFound, ErrorKind::NotFound));
    gateway.gateway().drain(Duration::ZERO).await;
    assert_eq!(client.check(of("")).await.unwrap().into_inner().status(), ServingStatus::NotServing);
}

#[tokio::test]
async fn a_watch_hears_of_the_drain_and_is_let_go() {
    let gateway = Gateway::start().await;
    let mut client = health(&gateway).await;
    let mut watch = client.watch(of("")).await.unwrap().into_inner();
    assert_eq!(soon(watch.message()).await.unwrap().unwrap().status(), ServingStatus::Serving);
    let mut unknown = client.watch(of("nobody")).await.unwrap().into_inner();
    assert_eq!(soon(unknown.message()).await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
    gateway.gateway().drain(Duration::ZERO).await;
    assert_eq!(soon(watch.message()).await.unwrap().unwrap().status(), ServingStatus::NotServing);
    for watch in [&mut watch, &mut unknown] {
        let end = soon(watch.message()).await.expect_err("an end");
        assert_eq!(told(&end), (Code::Unavailable, ErrorKind::Unavailable));
    }
}

#[tokio::test]
async fn reflection_lists_and_describes() {
    let gateway = Gateway::start().await;
    let channel = gateway.endpoint().connect().await.unwrap();
    let ask = |request| ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let asked = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("event.v1.EventService".into())),
        ask(MessageRequest::FileByFilename("google/protobuf/timestamp.proto".into())),
    ];
    let mut client = ServerReflectionClient::new(channel);
    let answers = client.server_reflection_info(tokio_stream::iter(asked)).await.unwrap();
    let mut answers = answers.into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        soon(answers.message()).await.unwrap().unwrap().message_response
    else {
        panic!("no list")
    };
    let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    names.sort();
    assert_eq!(
        names,
        ["event.v1.EventService", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"]
    );
    for _ in 0..2 {
        let answer = soon(answers.message()).await.unwrap().unwrap().message_response;
        assert!(matches!(answer, Some(MessageResponse::FileDescriptorResponse(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn older_tools_find_reflection_too() {
    use v1alpha::{
        server_reflection_client::ServerReflectionClient, server_reflection_request::MessageRequest,
        server_reflection_response::MessageResponse,
    };
    let gateway = Gateway::start().await;
    let channel = gateway.endpoint().connect().await.unwrap();
    let list = Some(MessageRequest::ListServices(String::new()));
    let asked = v1alpha::ServerReflectionRequest { host: String::new(), message_request: list };
    let mut client = ServerReflectionClient::new(channel);
    let mut answers = client.server_reflection_info(tokio_stream::iter([asked])).await.unwrap().into_inner();
    let answer = soon(answers.message()).await.unwrap().unwrap().message_response;
    assert!(matches!(answer, Some(MessageResponse::ListServicesResponse(list)) if !list.service.is_empty()));
}
