//! For those who run it: health, metrics, request ids, the description of the API.

use serde_json::Value;

use crate::gate::Gate;

#[tokio::test]
async fn every_answer_has_a_request_id() {
    let gate = Gate::open().await;
    for path in ["/healthz", "/v1/events", "/nope", "/metrics", "/docs"] {
        let (first, second) = (gate.get(path).await, gate.get(path).await);
        assert_eq!(first.header("x-request-id").len(), 32, "{path}");
        assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
        let kept = gate.call("GET", path).header("x-request-id", "mine-1").send().await;
        assert_eq!(kept.header("x-request-id"), "mine-1");
        let insane = gate.call("GET", path).header("x-request-id", "<script>").send().await;
        assert_eq!(insane.header("x-request-id").len(), 32);
    }
}

#[tokio::test]
async fn the_counters_count() {
    let gate = Gate::open().await;
    gate.register("a").await;
    gate.publish("a", "x").await;
    gate.post("/v1/events/a/messages", "nonsense").await;
    let mut stream = gate
        .call(
            "GET",
            "/v1/events/a/stream?start_from=beginning&delivery_mode=worker_pool&worker_group=g&ack=manual",
        )
        .stream()
        .await;
    stream.next_of("message").await;
    let text = String::from_utf8(gate.get("/metrics").await.body.to_vec()).unwrap();
    for line in [
        "busgate_published_total 1",
        "busgate_requests_total{door=\"rest\",kind=\"invalid\"} 1",
        "busgate_requests_total{door=\"sse\",kind=\"ok\"} 1",
        "busgate_sessions 1",
        "busgate_in_flight 1",
        "busgate_lag{event=\"a\",group=\"g\"} 0",
        "busgate_leased{event=\"a\",group=\"g\"} 1",
        "# TYPE busgate_request_seconds histogram",
    ] {
        assert!(text.lines().any(|held| held == line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn openmetrics_is_given_to_those_who_ask() {
    let gate = Gate::open().await;
    let plain = gate.get("/metrics").await;
    assert!(plain.header("content-type").starts_with("text/plain; version=0.0.4"));
    let open = gate
        .call("GET", "/metrics")
        .header("accept", "application/openmetrics-text; version=1.0.0")
        .send()
        .await;
    assert!(open.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
    let text = String::from_utf8(open.body.to_vec()).unwrap();
    assert!(
        text.ends_with("# EOF\n")
            && text.contains("# TYPE busgate_published counter\nbusgate_published_total 0\n")
    );
}

#[tokio::test]
async fn an_admin_listener_takes_metrics_and_probes_away() {
    let gate = Gate::with("admin = \"127.0.0.1:0\"").await;
    let admin = gate.server.addresses().admin.unwrap();
    for path in ["/metrics", "/healthz", "/readyz"] {
        gate.get(path).await.expect_problem(404, "not_found");
        assert_eq!(crate::client::Call::new(admin, "GET", path).send().await.status, 200, "{path}");
    }
    crate::client::Call::new(admin, "GET", "/v1/events").send().await.expect_problem(404, "not_found");
    gate.get("/v1/health").await.expect(200);
}

#[tokio::test]
async fn the_description_tells_of_every_call_and_of_nothing_else() {
    let gate = Gate::open().await;
    let api = gate.get("/openapi.json").await.expect(200);
    assert_eq!(api["openapi"], "3.1.0");
    let paths: Vec<&String> = api["paths"].as_object().unwrap().keys().collect();
    assert_eq!(
        paths,
        [
            "/healthz",
            "/metrics",
            "/readyz",
            "/v1/ack",
            "/v1/events",
            "/v1/events/{name}",
            "/v1/events/{name}/messages",
            "/v1/events/{name}/messages/{cursor}",
            "/v1/events/{name}/messages:batch",
            "/v1/events/{name}/stream",
            "/v1/health"
        ]
    );
    for (path, calls) in api["paths"].as_object().unwrap() {
        for method in calls.as_object().unwrap().keys() {
            let path = path.replace("{name}", "none").replace("{cursor}", "none");
            let status = gate.call(&method.to_uppercase(), &path).status().await;
            assert_ne!(status, 405, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn every_reference_of_the_description_resolves() {
    let gate = Gate::open().await;
    let api = gate.get("/openapi.json").await.expect(200);
    let mut references = Vec::new();
    collect(&api, &mut references);
    assert!(references.len() > 10);
    for reference in references {
        assert!(api.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

fn collect(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            into.extend(fields.get("$ref").and_then(Value::as_str).map(ToOwned::to_owned));
            fields.values().for_each(|inner| collect(inner, into));
        }
        Value::Array(items) => items.iter().for_each(|inner| collect(inner, into)),
        _ => {}
    }
}

#[tokio::test]
async fn the_page_asks_nobody_else_for_anything() {
    let gate = Gate::open().await;
    let page = gate.get("/docs").await;
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    assert!(text.contains("openapi.json") && !text.contains("https://") && !text.contains("src=\"http"));
}
