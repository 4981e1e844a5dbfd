//! What `/metrics` tells of a broker.

use crate::{backend::Backend, node::Node};

const EVENT: &str = "orders";

/// What stands behind a name with these labels.
fn value(text: &str, name: &str, labels: &[&str]) -> f64 {
    let found = text.lines().find(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('{') && labels.iter().all(|label| rest.contains(label)))
    });
    let line = found.unwrap_or_else(|| panic!("{name} {labels:?} is not in\n{text}"));
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

pub(crate) async fn what_the_broker_does_is_measured(backend: Backend) {
    let node = Node::serve(&backend.shared());
    node.register(EVENT).await;
    node.publish(EVENT, "one").await;
    let mut worker = node.worker(EVENT, "60s").await;
    let ack_id = worker.next_of("message").await.data["ack_id"].as_str().unwrap().to_owned();
    assert_eq!(node.ack(&ack_id).await, "acked");
    node.call("GET", &format!("/v1/events/{EVENT}/messages?limit=1")).send().await.expect(200);
    assert_eq!(node.call("GET", "/readyz").send().await.status, 200);
    node.try_publish("nowhere", "x").await.expect_problem(404, "not_found");
    let answer = node.call("GET", "/metrics").send().await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let kind = format!("transport=\"{}\"", backend.kind());
    let of = |name: &str, operation: &str, more: &str| {
        value(&text, name, &[&kind, &format!("operation=\"{operation}\""), more])
    };
    for operation in ["publish", "settle", "read", "subscribe", "health"] {
        let calls = of("busgate_transport_calls_total", operation, "kind=\"ok\"");
        assert!(calls >= 1.0, "{operation}: {calls}");
        let timed = of("busgate_transport_seconds_count", operation, "");
        assert!(timed >= calls, "{operation}: {timed} of {calls}");
    }
    assert!(of("busgate_transport_calls_total", "publish", "kind=\"not_found\"") >= 1.0);
    assert!(of("busgate_transport_batch_sum", "publish", "") >= 1.0);
    assert!(of("busgate_transport_batch_bucket", "settle", "le=\"1\"") >= 1.0);
    assert_eq!(value(&text, "busgate_transport_up", &[&kind]).to_string(), "1");
    assert_eq!(value(&text, "busgate_transport_interruptions_total", &[&kind]).to_string(), "0");
}
