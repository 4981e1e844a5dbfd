//! h2spec's cases of HTTP/2 and HPACK, on both ports, without TLS and by prior knowledge.

use std::{collections::BTreeSet, net::SocketAddr, process::Command};

use super::gateway::{Gateway, judge, told, tool};

/// Cases by their section and what they do.
type Cases = BTreeSet<(String, String)>;

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

/// How often all cases are run while one fails that is not listed.
const ROUNDS: usize = 3;

/// What fails every time: where frames cross on the wire, some cases are decided by which of them h2spec sees first.
fn failures(gateway: &Gateway, port: SocketAddr, path: &str, listed: &Cases) -> Cases {
    let mut failed = round(gateway, port, path);
    for _ in 1..ROUNDS {
        if failed == *listed {
            break;
        }
        let again = round(gateway, port, path);
        failed = failed.intersection(&again).cloned().collect();
    }
    failed
}

/// Runs all cases; those that failed.
fn round(gateway: &Gateway, port: SocketAddr, path: &str) -> Cases {
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

fn named(lists: &[&[(&str, &str)]]) -> Cases {
    lists.concat().into_iter().map(|(section, case)| (section.to_owned(), case.to_owned())).collect()
}

/// Both ways: a case that is mended leaves its list. A limit of streams that is soon reached is reached in time.
#[test]
fn only_what_is_listed_fails_on_the_http_port() {
    let gateway = Gateway::start(&[("BUSGATE_LIMITS_MAX_STREAMS_PER_CONNECTION", "100")]);
    let listed = named(&[&EVERYWHERE]);
    assert_eq!(failures(&gateway, gateway.http, HTTP_PATH, &listed), listed);
}

#[test]
fn only_what_is_listed_fails_on_the_grpc_port() {
    let gateway = Gateway::start(&[]);
    let listed = named(&[&EVERYWHERE, &GRPC]);
    assert_eq!(failures(&gateway, gateway.grpc, GRPC_PATH, &listed), listed);
}
