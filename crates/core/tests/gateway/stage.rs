//! A gateway to try things on, and the shortest words for them.

use std::{sync::Arc, time::Duration};

use busgate_core::{
    AckStatus, AllowAll, Caller, Draft, EventConfig, EventName, Gateway, GatewayConfig, GroupName, Outbound,
    Outgoing, Pattern, Receipt, RetryPolicy, Session, SettleAction, SettleRequest, SubscribeRequest,
    SystemClock, Transport,
};
use busgate_transports_memory::{MemoryConfig, MemoryTransport};

pub(crate) const ACK_WAIT: Duration = Duration::from_secs(10);

pub(crate) fn memory() -> Arc<dyn Transport> {
    MemoryTransport::new(MemoryConfig::default())
}

pub(crate) fn config() -> GatewayConfig {
    let retry = RetryPolicy { ack_wait: ACK_WAIT, ..RetryPolicy::default() };
    GatewayConfig { retry, ..GatewayConfig::default() }
}

pub(crate) fn gateway_over(transport: Arc<dyn Transport>, config: GatewayConfig) -> Gateway {
    Gateway::new(transport, Arc::new(AllowAll), SystemClock::shared(), config)
}

/// A gateway with the event `e`.
pub(crate) async fn gateway() -> Gateway {
    gateway_with(config()).await
}

pub(crate) async fn gateway_with(config: GatewayConfig) -> Gateway {
    let gateway = gateway_over(memory(), config);
    register(&gateway, "e").await;
    gateway
}

pub(crate) fn me() -> Caller {
    Caller::anonymous()
}

pub(crate) fn event(name: &str) -> EventName {
    EventName::new(name).unwrap()
}

pub(crate) fn pattern(text: &str) -> Pattern {
    Pattern::new(text).unwrap()
}

pub(crate) async fn register(gateway: &Gateway, name: &str) {
    gateway.register(&me(), &event(name), &EventConfig::default()).await.unwrap();
}

pub(crate) fn draft(text: &str) -> Draft {
    Draft { payload: text.to_owned().into(), ..Draft::default() }
}

pub(crate) async fn publish(gateway: &Gateway, name: &str, text: &str) -> Receipt {
    gateway.publish_one(&me(), &event(name), draft(text)).await.unwrap()
}

pub(crate) fn broadcast() -> SubscribeRequest {
    SubscribeRequest::broadcast(pattern("e"))
}

pub(crate) fn pool() -> SubscribeRequest {
    SubscribeRequest::pool(pattern("e"), GroupName::default())
}

pub(crate) async fn subscribe(gateway: &Gateway, request: SubscribeRequest) -> Session {
    gateway.subscribe(&me(), request).await.unwrap()
}

/// The next item, which must be a message.
pub(crate) async fn next(session: &mut Session) -> Outbound {
    match within(session.next()).await {
        Outgoing::Message(outbound) => outbound,
        other => panic!("a message was due, not {other:?}"),
    }
}

pub(crate) async fn next_text(session: &mut Session) -> String {
    text(&next(session).await)
}

pub(crate) fn text(outbound: &Outbound) -> String {
    String::from_utf8(outbound.envelope.message.payload.to_vec()).unwrap()
}

/// Nothing comes for a while (of paused time).
pub(crate) async fn quiet(session: &mut Session, for_a: Duration) {
    let got = tokio::time::timeout(for_a, session.next()).await;
    assert!(got.is_err(), "nothing was due, got {got:?}");
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(3600), future).await.expect("this takes too long")
}

pub(crate) async fn settle(gateway: &Gateway, outbound: &Outbound, action: SettleAction) -> AckStatus {
    let ack_id = outbound.ack_id.clone().expect("an ack id");
    let answers = gateway.settle(&me(), vec![SettleRequest { ack_id, action }]).await.unwrap();
    answers[0].status
}

pub(crate) async fn ack(gateway: &Gateway, outbound: &Outbound) -> AckStatus {
    settle(gateway, outbound, SettleAction::Ack).await
}
