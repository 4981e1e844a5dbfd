//! h2spec's cases of HTTP/2 and HPACK, on both ports, without TLS and by prior knowledge.

use std::{collections::BTreeSet, net::SocketAddr, process::Command};

use super::gateway::{Gateway, judge, told, tool};

/// How many cases there are in all, the strict ones with them.
const CASES: usize = 146;

/// What is answered otherwise than h2spec wants on every port, and why.
const EVERYWHERE: [(&str, &str); 1] = [
    // Whoever does not begin like HTTP/2 is taken for HTTP/1.1, and told in it that he made no sense.
    ("http2/3.5", "Sends invalid connection preface"),
];

/// The same for gRPC, which answers a call without a message by headers alone.
const GRPC: [(&str, &str); 3] = [
    // There is no DATA frame to wait for.
    ("generic/2", "Sends a WINDOW_UPDATE frame on half-closed (remote) stream"),
    ("generic/2", "Sends a PRIORITY frame on half-closed (remote) stream"),
    // And nothing that a closed window would hold back: each stream is done before the next, the limit never reached.
    (
        "http2/5.1.2",
        "Sends HEADERS frames that causes their advertised concurrent stream limit to be exceeded",
    ),
];

/// A path where a POST waits for its whole body: what is answered before may be answered before the client's mistake.
const HTTP_PATH: &str = "/v1/ack";

/// A call that waits for what the client has to say, as every stream of messages does.
const GRPC_PATH: &str = "/event.v1.EventService/Consume";

/// Runs all cases; those that failed, as the section and the case.
fn failures(gateway: &Gateway, port: SocketAddr, path: &str) -> BTreeSet<(String, String)> {
    let report = gateway.scratch().join("h2spec.xml");
    let mut command = Command::new(tool("go/bin/h2spec"));
    command.args(["--strict", "--timeout", "2", "--host", "127.0.0.1", "--path", path]);
    let output = judge(command.arg("--port").arg(port.port().to_string()).arg("--junit-report").arg(&report));
    let report =
        std::fs::read_to_string(&report).unwrap_or_else(|error| panic!("{error}\n{}", told(&output)));
    let cases: Vec<&str> = report.split("<testcase ").skip(1).collect();
    assert_eq!(cases.len(), CASES, "{}", told(&output));
    let failed = cases.into_iter().filter(|case| case.contains("<error>") || case.contains("<failure>"));
    failed.map(|case| (attribute(case, "package"), attribute(case, "classname"))).collect()
}

fn attribute(element: &str, name: &str) -> String {
    let value = element.split(&format!("{name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
    value.expect("an attribute").replace("&#34;", "\"")
}

fn named(lists: &[&[(&str, &str)]]) -> BTreeSet<(String, String)> {
    lists.concat().into_iter().map(|(section, case)| (section.to_owned(), case.to_owned())).collect()
}

/// Both ways: a case that is mended leaves its list. A limit of streams that is soon reached is reached in time.
#[test]
fn only_what_is_listed_fails_on_the_http_port() {
    let gateway = Gateway::start(&[("BUSGATE_LIMITS_MAX_STREAMS_PER_CONNECTION", "100")]);
    assert_eq!(failures(&gateway, gateway.http, HTTP_PATH), named(&[&EVERYWHERE]));
}

#[test]
fn only_what_is_listed_fails_on_the_grpc_port() {
    let gateway = Gateway::start(&[]);
    assert_eq!(failures(&gateway, gateway.grpc, GRPC_PATH), named(&[&EVERYWHERE, &GRPC]));
}
