//! Autobahn's cases against a socket that echoes: the server, its handshake and its pump are the real ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::{decoder::Incoming, frame::Opcode, *};
use crate::{Config, Environment, Server, Sources};

/// How many cases run at once: most of them wait.
const PARALLEL: &str = "4";

/// The most bytes of a message in the cases.
const LARGEST: &str = "16777216";

/// What is judged in every run: everything without compression, and with it two sizes of message, one in fragments.
const USUAL: [&str; 13] = [
    "1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*", "12.*.4", "12.*.11", "13.*.4", "13.*.11",
];

/// What need not be simply right, and why: `cases: how they behave and close`.
const EXPECTED: [(&str, &str, &str); 5] = [
    // Text is checked when the message is whole; a judge would rather see it refused at the first bad byte.
    ("6.4.", "NON-STRICT", "OK"),
    // What happens after a close frame that was followed by more is left open.
    ("7.1.6", "INFORMATIONAL", "INFORMATIONAL"),
    // So is what follows a close code nobody has given a meaning.
    ("7.13.", "INFORMATIONAL", "INFORMATIONAL"),
    // The only offer asks the server for a smaller window, which it can't have: it goes on uncompressed.
    ("13.3.", "UNIMPLEMENTED", "OK"),
    ("13.5.", "UNIMPLEMENTED", "OK"),
];

/// Opens a socket that sends back what it gets.
pub(super) async fn echo(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    Extension(peer): Extension<Peer>,
    mut request: Request,
) -> Result<Response<Body>, Problem> {
    let handshake = Handshake::of(&request)?;
    let deflates = handshake.deflates();
    let mut session = Session::new(handshake.dialect(), Purpose::Many, deflates, None);
    session.echoes = true;
    let upgrade = hyper::upgrade::on(&mut request);
    open(Opening { app, caller, upgrade, deflates, peer }, session, Subscriptions::Many(Many::default()));
    Ok(handshake.response())
}

impl Session {
    /// Sends a message back, compressed if the client takes that; everything else, and all on a socket that does not
    /// echo, is left to the conversation.
    pub(super) fn echo(&mut self, incoming: Incoming) -> Option<Incoming> {
        let (opcode, payload) = match incoming {
            Incoming::Text(text) if self.echoes => (Opcode::Text, text),
            Incoming::Binary(bytes) if self.echoes => (Opcode::Binary, bytes),
            other => return Some(other),
        };
        if self.outbox.deflates() {
            self.outbox.push_deflated(opcode, [deflate::whole(&payload)]);
        } else {
            self.outbox.push(opcode, [payload]);
        }
        None
    }
}

async fn server() -> Server {
    let variables = [("BUSGATE_TRANSPORT", "memory:"), ("BUSGATE_LIMITS_MAX_PAYLOAD_BYTES", LARGEST)];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let sources = Sources { environment: Environment::new(variables), ..Sources::none() };
    let config = Config::read(&sources).expect("a good configuration");
    let any = "127.0.0.1:0".parse().expect("an address");
    Server::builder().config(config).http(any).grpc(any).start().await.expect("a server")
}

/// `TARGET/tools`, from `TARGET/debug/deps/this-test`.
fn tools() -> PathBuf {
    let program = std::env::current_exe().expect("the path of this test");
    let tools = program.ancestors().nth(3).expect("a target directory").join("tools");
    assert!(tools.exists(), "{} is missing: run `cargo xtask tools`", tools.display());
    tools
}

/// Runs cases against `address`; how each behaved and closed.
fn judge(address: &str, cases: &[&str], reports: &Path) -> BTreeMap<String, (String, String)> {
    let program = tools().join("python/bin/kosoku");
    let mut command = Command::new(&program);
    command.args(["-m", "fuzzingclient", "-p", PARALLEL]).arg("-o").arg(reports).arg(address);
    for case in cases {
        command.args(["-i", case]);
    }
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask tools`", program.display()));
    let told = String::from_utf8_lossy(&output.stderr);
    let index = std::fs::read(reports.join("index.json")).unwrap_or_else(|_| panic!("no report: {told}"));
    let index: BTreeMap<String, BTreeMap<String, Value>> = serde_json::from_slice(&index).expect("a report");
    let of = |case: &Value, what: &str| case[what].as_str().expect("a verdict").to_owned();
    let verdicts = index.into_values().flatten();
    verdicts.map(|(id, case)| (id, (of(&case, "behavior"), of(&case, "behaviorClose")))).collect()
}

#[tokio::test]
async fn autobahn_finds_nothing_wrong() {
    let server = server().await;
    let address = format!("{}/echo", server.addresses().http.expect("an address"));
    let folder = tempfile::tempdir().expect("a folder");
    let reports = folder.path().to_owned();
    #[allow(clippy::disallowed_methods, reason = "the long form of this test")]
    let all = std::env::var_os("BUSGATE_JUDGE_SECONDS").is_some();
    let cases: &[&str] = if all { &["*"] } else { &USUAL };
    let verdicts =
        tokio::task::spawn_blocking(move || judge(&address, cases, &reports)).await.expect("verdicts");
    let mut as_expected = BTreeSet::new();
    let mut wrong = Vec::new();
    for (id, (behavior, close)) in &verdicts {
        let expected = EXPECTED.iter().find(|(cases, ..)| id.starts_with(cases));
        let (cases, wanted, closed) = expected.copied().unwrap_or(("", "OK", "OK"));
        if (behavior.as_str(), close.as_str()) == (wanted, closed) {
            as_expected.insert(cases);
        } else {
            wrong.push(format!("{id}: {behavior}, closed {close}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(verdicts.len() > 300, "only {} cases were run", verdicts.len());
    assert_eq!(as_expected.len(), EXPECTED.len() + 1, "only {as_expected:?} were seen");
    server.shutdown().await.expect("a clean end");
}
