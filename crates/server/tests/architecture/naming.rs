//! Who may name what: rules R3 to R8 of `crates/README.md`.

use std::collections::BTreeSet;
use std::fs;

use super::{
    layout::TRANSPORTS,
    sources::{Source, assert_none, entries, root, workspace},
};

/// R3: the client is for the server's commands; nothing that serves is built on it. That it is not built on the server
/// cargo sees to.
fn clients_inside(sources: &[Source]) -> Vec<String> {
    let serving = |source: &&Source| {
        source.path.starts_with("crates/server/src/") && !is_module(&source.path, "crates/server/src/cli")
    };
    let client = |word: &str| word == "busgate_client";
    let breach = |source: &Source| source.breaches(source.lines_with(client), "serves through the client");
    sources.iter().filter(serving).flat_map(breach).collect()
}

/// R4: only the registry names a concrete transport.
fn transports_named(sources: &[Source], backends: &[String]) -> Vec<String> {
    let own = |word: &str, backend: &str| {
        ["Transport", "Config"].iter().any(|what| word.eq_ignore_ascii_case(&format!("{backend}{what}")))
    };
    let concrete = |word: &str| {
        word.starts_with("busgate_transports_") || backends.iter().any(|backend| own(word, backend))
    };
    let outside = |source: &&Source| {
        source.path.starts_with("crates/server/src/")
            && !is_module(&source.path, "crates/server/src/registry")
    };
    let breach = |source: &Source| source.breaches(source.lines_with(concrete), "names a concrete transport");
    sources.iter().filter(outside).flat_map(breach).collect()
}

/// R5: a door sees the gateway, wire and its own framework.
fn doors_reaching_through(sources: &[Source]) -> Vec<String> {
    let inner = |word: &str| matches!(word, "Transport" | "AckTracker" | "Authorizer");
    let breach =
        |source: &Source| source.breaches(source.lines_with(inner), "a door reaches behind the gateway");
    sources
        .iter()
        .filter(|source| source.path.starts_with("crates/server/src/doors"))
        .flat_map(breach)
        .collect()
}

/// R6: only `wire/status.rs` maps an error kind to a protocol's code. Held by keeping every code that means an error
/// out of all other files. The transports know no protocol of ours (`deny.toml`): a code there is their driver's.
fn error_codes(sources: &[Source]) -> Vec<String> {
    let judged = |source: &&Source| {
        !is_module(&source.path, "crates/wire/src/status") && !source.path.starts_with("crates/transports-")
    };
    let mut found = Vec::new();
    for source in sources.iter().filter(judged) {
        for window in source.tokens.windows(3) {
            let [owner, path, name] = window else { continue };
            let error = path.text == "::"
                && match owner.text.as_str() {
                    "StatusCode" => HTTP_ERRORS.contains(&name.text.as_str()),
                    "Code" => GRPC_ERRORS.contains(&name.text.as_str()),
                    "Status" => GRPC_ERRORS.iter().any(|code| snake_case(code) == name.text),
                    _ => false,
                };
            if error {
                found.extend(source.breaches(
                    vec![owner.line],
                    &format!("{}::{} belongs in wire/status.rs", owner.text, name.text),
                ));
            }
        }
        let close = |word: &str| CLOSES.contains(&word);
        found.extend(source.breaches(source.lines_with(close), "a close code belongs in wire/status.rs"));
    }
    found
}

const HTTP_ERRORS: [&str; 17] = [
    "BAD_REQUEST",
    "UNAUTHORIZED",
    "FORBIDDEN",
    "NOT_FOUND",
    "METHOD_NOT_ALLOWED",
    "NOT_ACCEPTABLE",
    "REQUEST_TIMEOUT",
    "CONFLICT",
    "GONE",
    "PAYLOAD_TOO_LARGE",
    "UNSUPPORTED_MEDIA_TYPE",
    "UNPROCESSABLE_ENTITY",
    "TOO_MANY_REQUESTS",
    "INTERNAL_SERVER_ERROR",
    "NOT_IMPLEMENTED",
    "SERVICE_UNAVAILABLE",
    "GATEWAY_TIMEOUT",
];

const GRPC_ERRORS: [&str; 16] = [
    "Cancelled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

const CLOSES: [&str; 9] = ["4400", "4401", "4403", "4404", "4409", "4410", "4413", "4422", "4501"];

/// R7: only the configuration reads the environment and only the clock reads the time, so nobody else may quiet the
/// lint that holds this.
fn lints_quieted(sources: &[Source]) -> Vec<String> {
    let owner = |path: &str| {
        [
            "crates/core/src/clock",
            "crates/core/src/tasks",
            "crates/server/src/config",
            // hyper's trait names the type; the time itself is tokio's.
            "crates/server/src/listen/timer",
        ]
        .iter()
        .any(|module| is_module(path, module))
            || path.starts_with("crates/bench/")
            || path.starts_with("crates/brokers/")
            || path.starts_with("crates/xtask/")
    };
    let lint = |word: &str| matches!(word, "disallowed_methods" | "disallowed_types");
    let breach =
        |source: &Source| source.breaches(source.lines_with(lint), "quiets a lint that holds rule R7");
    sources.iter().filter(|source| !owner(&source.path)).flat_map(breach).collect()
}

/// R8: only generated code (`wire/proto.rs`) and `wire/convert.rs` name the fields of a proto message: elsewhere a
/// message is neither made by its fields nor read by them.
fn proto_fields(sources: &[Source], messages: &BTreeSet<String>) -> Vec<String> {
    let owners = ["crates/wire/src/convert", "crates/wire/src/proto"];
    let elsewhere = |source: &&Source| !owners.iter().any(|module| is_module(&source.path, module));
    let mut found = Vec::new();
    for source in sources.iter().filter(elsewhere) {
        let mut imported = imported_from_proto(source);
        imported.retain(|word| messages.contains(*word));
        for window in source.tokens.windows(6) {
            let words: Vec<&str> = window.iter().map(|token| token.text.as_str()).collect();
            let breach = match words[..] {
                ["proto" | "v1", "::", name, "{", ..] if messages.contains(name) => {
                    format!("{name} is made or matched by its fields")
                }
                [before, name, "{", ..]
                    if imported.contains(name)
                        && !matches!(before, "::" | "struct" | "enum" | "impl" | "for" | ">" | "mod") =>
                {
                    format!("{name} is made or matched by its fields")
                }
                ["into_inner" | "get_ref", "(", ")", ".", field, next]
                    if !imported.is_empty() && !matches!(next, "(" | ":" | "::") && field != "await" =>
                {
                    format!("reads the field {field} of a message")
                }
                _ => continue,
            };
            found.extend(source.breaches(vec![window[0].line], &breach));
        }
    }
    found
}

/// The words of all `use` declarations that reach into the generated code.
fn imported_from_proto(source: &Source) -> BTreeSet<&str> {
    let words: Vec<&str> = source.tokens.iter().map(|token| token.text.as_str()).collect();
    let starts = words.iter().enumerate().filter(|(_, word)| **word == "use").map(|(at, _)| at);
    let declarations = starts.filter_map(|at| words[at..].split(|word| *word == ";").next());
    declarations.filter(|words| words.contains(&"proto")).flatten().copied().collect()
}

/// Whether `path` is the module `module` (without `.rs`) or lies inside it.
fn is_module(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

fn snake_case(camel: &str) -> String {
    let mut snake = String::new();
    for (at, letter) in camel.char_indices() {
        if letter.is_uppercase() && at > 0 {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

fn backends() -> Vec<String> {
    let name = |path: std::path::PathBuf| {
        path.file_name()?.to_str()?.strip_prefix("transports-").map(ToOwned::to_owned)
    };
    let names: Vec<String> = entries(&root().join("crates")).into_iter().filter_map(name).collect();
    assert_eq!(names, TRANSPORTS, "the transports there are");
    names
}

/// The names of all messages in the proto files.
fn messages() -> BTreeSet<String> {
    fn gather(folder: &std::path::Path, into: &mut BTreeSet<String>) {
        for path in entries(folder) {
            if path.is_dir() {
                gather(&path, into);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let names = text.lines().filter_map(|line| line.trim().strip_prefix("message "));
                into.extend(names.filter_map(|rest| rest.split([' ', '{']).next()).map(ToOwned::to_owned));
            }
        }
    }
    let mut names = BTreeSet::new();
    gather(&root().join("proto"), &mut names);
    assert!(names.contains("PublishRequest"), "no proto messages found: {names:?}");
    names
}

#[test]
fn r3_the_client_is_for_the_commands() {
    assert_none(&clients_inside(&workspace()));
}

#[test]
fn r4_only_the_registry_names_a_transport() {
    assert_none(&transports_named(&workspace(), &backends()));
}

#[test]
fn r5_doors_see_the_gateway_alone() {
    assert_none(&doors_reaching_through(&workspace()));
}

#[test]
fn r6_one_table_of_error_codes() {
    assert_none(&error_codes(&workspace()));
}

#[test]
fn r7_no_second_reader_of_clock_or_environment() {
    assert_none(&lints_quieted(&workspace()));
}

#[test]
fn r8_only_convert_names_proto_fields() {
    assert_none(&proto_fields(&workspace(), &messages()));
}

/// How many breaches a rule finds in one made-up file.
fn seen(path: &str, text: &str, rule: impl Fn(&[Source]) -> Vec<String>) -> usize {
    rule(&[Source::new(path, text)]).len()
}

#[test]
fn r3_sees_a_breach() {
    let text = "use busgate_client::RemoteTransport;";
    assert_eq!(seen("crates/server/src/app.rs", text, clients_inside), 1);
    assert_eq!(seen("crates/server/src/cli/client.rs", text, clients_inside), 0);
}

#[test]
fn r4_sees_a_breach() {
    let rule = |sources: &[Source]| transports_named(sources, &["memory".to_owned(), "nats".to_owned()]);
    assert_eq!(seen("crates/server/src/app.rs", "use busgate_transports_log::LogTransport;", rule), 1);
    assert_eq!(seen("crates/server/src/app.rs", "let t = crate::registry::MemoryTransport::new();", rule), 1);
    assert_eq!(seen("crates/server/src/config.rs", "fn f(config: &crate::registry::NatsConfig) {}", rule), 1);
    assert_eq!(seen("crates/server/src/registry.rs", "use busgate_transports_log::LogTransport;", rule), 0);
}

#[test]
fn r5_sees_a_breach() {
    let text = "use busgate_core::{Gateway, Transport}; fn f(a: &dyn Authorizer) { AckTracker::new() }";
    assert_eq!(seen("crates/server/src/doors/rest/publish.rs", text, doors_reaching_through), 3);
    assert_eq!(seen("crates/server/src/app.rs", text, doors_reaching_through), 0);
}

#[test]
fn r6_sees_a_breach() {
    let text = "match kind { A => StatusCode::NOT_FOUND, B => Code::NotFound, C => Status::not_found(e), D => 4404 }";
    assert_eq!(seen("crates/server/src/doors/sse.rs", text, error_codes), 4);
    assert_eq!(seen("crates/wire/src/status.rs", text, error_codes), 0);
    assert_eq!(seen("crates/transports-kafka/src/error.rs", "Code::Unknown => lost()", error_codes), 0);
    assert_eq!(
        seen("crates/server/src/doors/sse.rs", "(StatusCode::OK, ErrorKind::NotFound)", error_codes),
        0
    );
}

#[test]
fn r7_sees_a_breach() {
    let text = "#[allow(clippy::disallowed_methods)] fn now() { SystemTime::now() }";
    assert_eq!(seen("crates/core/src/gateway.rs", text, lints_quieted), 1);
    assert_eq!(seen("crates/core/src/clock.rs", text, lints_quieted), 0);
}

#[test]
fn r8_sees_a_breach() {
    let rule = |sources: &[Source]| proto_fields(sources, &BTreeSet::from(["PublishResponse".to_owned()]));
    let made =
        "use wire::proto::PublishResponse; fn f() -> PublishResponse { g(PublishResponse { id, cursor }) }";
    assert_eq!(seen("crates/server/src/doors/grpc.rs", made, rule), 1);
    assert_eq!(seen("crates/wire/src/convert/publish.rs", made, rule), 0);
    let read = "use wire::proto::PublishResponse as R; fn f(r: Request<R>) { let name = r.into_inner().name; r.into_inner().try_into() }";
    assert_eq!(seen("crates/server/src/doors/grpc.rs", read, rule), 1);
}
