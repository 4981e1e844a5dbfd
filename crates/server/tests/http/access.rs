//! Who may come in, and what each may do.

use crate::{
    client::Call,
    gate::{CLERK, Gate, KEYS, SHOP},
};

const MESSAGES: &str = "/v1/events/orders.a/messages";

async fn keyed() -> Gate {
    let gate = Gate::with(KEYS).await;
    gate.call("POST", "/v1/events/orders.a").header("authorization", SHOP).send().await.expect(200);
    gate
}

#[tokio::test]
async fn nothing_is_allowed_without_a_known_key() {
    let gate = keyed().await;
    for (method, path) in [
        ("GET", "/v1/events"),
        ("POST", "/v1/events/orders.b"),
        ("DELETE", "/v1/events/orders.a"),
        ("POST", MESSAGES),
        ("POST", "/v1/events/orders.a/messages:batch"),
        ("GET", MESSAGES),
        ("GET", "/v1/events/orders.a/stream"),
        ("POST", "/v1/ack"),
        ("POST", "/v1/events/orders.a/pull"),
        ("GET", "/metrics"),
    ] {
        let refused = gate.call(method, path).send().await;
        refused.expect_problem(401, "unauthenticated");
        assert_eq!(refused.header("www-authenticate"), "Bearer realm=\"busgate\"");
        let wrong = gate.call(method, path).header("authorization", "Bearer not-a-key-of-anyone");
        wrong.send().await.expect_problem(401, "unauthenticated");
    }
    for path in ["/healthz", "/readyz", "/v1/health", "/openapi.json", "/docs"] {
        assert_eq!(gate.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn the_description_asks_for_keys_only_where_there_are_some() {
    let open = Gate::open().await.get("/openapi.json").await.expect(200);
    assert!(open["security"].is_null() && open["components"]["securitySchemes"].is_null());
    let keyed = keyed().await.get("/openapi.json").await.expect(200);
    assert_eq!(keyed["security"].as_array().map(Vec::len), Some(2));
    let publish = &keyed["paths"]["/v1/events/{name}/messages"]["post"]["responses"];
    assert!(publish["401"].is_object() && publish["403"].is_object());
    assert!(keyed["paths"]["/healthz"]["get"]["responses"]["401"].is_null());
}

#[tokio::test]
async fn a_key_is_taken_in_either_header() {
    let gate = keyed().await;
    gate.call("GET", "/v1/events").header("authorization", SHOP).send().await.expect(200);
    gate.call("GET", "/v1/events").header("x-api-key", "shop-key-0123456789").send().await.expect(200);
}

#[tokio::test]
async fn what_no_rule_allows_is_denied() {
    let gate = keyed().await;
    let clerk = |method: &str, path: &str| gate.call(method, path).header("authorization", CLERK);
    clerk("POST", MESSAGES).body("x").send().await.expect_problem(403, "denied");
    clerk("POST", "/v1/events/orders.b").send().await.expect_problem(403, "denied");
    clerk("DELETE", "/v1/events/orders.a").send().await.expect_problem(403, "denied");
    clerk("GET", "/v1/events/users.a/messages").send().await.expect_problem(403, "denied");
    clerk("GET", "/v1/events/%3E/stream").send().await.expect_problem(403, "denied");
    clerk("GET", MESSAGES).send().await.expect(200);
    clerk("GET", "/v1/events/orders.%3E/stream").stream().await;
}

#[tokio::test]
async fn a_list_has_only_what_the_caller_may_see() {
    let lines = format!(
        "{KEYS}\n[[keys]]\nname = \"all\"\nkey = \"all-key-0123456789\"\nrules = [{{ operations = [\"*\"], events = [\">\"] }}]"
    );
    let gate = Gate::with(&lines).await;
    let all = |method: &str, path: &str| gate.call(method, path).header("x-api-key", "all-key-0123456789");
    for event in ["orders.a", "users.a"] {
        all("POST", &format!("/v1/events/{event}")).send().await.expect(200);
    }
    let seen = gate.call("GET", "/v1/events").header("authorization", CLERK).send().await.expect(200);
    assert_eq!(seen["events"], serde_json::json!(["orders.a"]));
}

#[tokio::test]
async fn the_caller_is_the_source() {
    let gate = keyed().await;
    let shop = |method: &str, path: &str| gate.call(method, path).header("authorization", SHOP);
    shop("POST", MESSAGES).body("x").send().await.expect(200);
    assert_eq!(shop("GET", MESSAGES).send().await.expect(200)["messages"][0]["source"], "shop");
}

fn from(gate: &Gate, method: &str, path: &str, origin: &str) -> Call {
    gate.call(method, path).header("origin", origin)
}

#[tokio::test]
async fn pages_of_the_gateways_own_origin_may_call() {
    let gate = Gate::open().await;
    let own = format!("http://{}", gate.address());
    from(&gate, "POST", "/v1/events/a", &own).send().await.expect(200);
    from(&gate, "GET", "/v1/events/a/stream", &own).stream().await;
}

#[tokio::test]
async fn pages_of_other_origins_may_not() {
    let gate = Gate::open().await;
    gate.register("a").await;
    for origin in ["http://evil.example", "https://127.0.0.1:1", "null"] {
        for (method, path) in
            [("POST", "/v1/events/b"), ("POST", "/v1/events/a/messages"), ("GET", "/v1/events/a/stream")]
        {
            let refused = from(&gate, method, path, origin).send().await;
            refused.expect_problem(403, "denied");
            assert_eq!(refused.header("access-control-allow-origin"), "");
        }
    }
    assert_eq!(gate.get("/v1/events").await.json()["events"], serde_json::json!(["a"]));
}

#[tokio::test]
async fn pages_of_listed_origins_may_and_can_read_the_answers() {
    let gate = Gate::with("allowed_origins = [\"https://*.example.com\"]").await;
    let origin = "https://app.example.com";
    let preflight = from(&gate, "OPTIONS", "/v1/events/a/messages", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type, authorization")
        .send()
        .await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), origin);
    assert_eq!(preflight.header("access-control-allow-headers"), "content-type, authorization");
    assert!(preflight.header("access-control-allow-methods").contains("POST"));
    let answer = from(&gate, "POST", "/v1/events/a", origin).send().await;
    answer.expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), origin);
    assert_eq!(answer.header("vary"), "origin");
    // An error can be read as well.
    let error = from(&gate, "POST", "/v1/events/nobody/messages", origin).body("x").send().await;
    error.expect_problem(404, "not_found");
    assert_eq!(error.header("access-control-allow-origin"), origin);
    from(&gate, "OPTIONS", "/v1/events", "https://evil.example").send().await.expect_problem(403, "denied");
}

#[tokio::test]
async fn without_keys_a_public_name_for_this_machine_is_refused() {
    let gate = Gate::open().await;
    let rebound = gate.call("GET", "/v1/events").header("host", "evil.example").send().await;
    rebound.expect_problem(403, "denied");
    gate.call("GET", "/v1/events").header("host", "localhost").send().await.expect(200);
}
