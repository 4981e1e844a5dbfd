//! The examples on a broker run as their READMEs say, and `docker-compose.yml` has what they start.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use busgate_brokers::{Broker, Kafka, Nats, Redis, free_port, program};

/// Seconds that all commands of an example may take on a busy machine.
const PATIENCE: &str = "120";

/// What both nodes do before the commands after them: it goes without saying in a README.
const READY: &str =
    "for port in 8080 8081; do until curl localhost:$port/readyz > /dev/null 2>&1; do sleep 0.05; done; done";

#[test]
fn redis() {
    let broker = Redis::v8_2().durable().start().unwrap();
    let cli = format!("redis-cli -p {} ", broker.address().port());
    let told = run("redis", &broker, "127.0.0.1:6379", &[("redis-cli ", &cli)]);
    assert!(told.contains("meta.shop\nparis") && told.contains("key\ncustomer-7"), "{told}");
}

#[test]
fn nats() {
    let broker = Nats::v2_15().durable().start().unwrap();
    let told = run("nats", &broker, "127.0.0.1:4222", &[]);
    assert!(told.contains("'shop': 'paris'") && told.contains("'busgate-key': 'customer-7'"), "{told}");
}

#[test]
fn kafka() {
    let broker = Kafka::new().start().unwrap();
    let told = run("kafka", &broker, "127.0.0.1:9092", &[]);
    assert!(told.contains("'shop': b'paris'") && told.contains("customer-7 order 8"), "{told}");
}

/// Runs the commands of an example in a copy of its folder, with the broker and the ports of this test in place of the
/// usual ones; answers what they wrote.
fn run(name: &str, broker: &Broker, usual: &str, others: &[(&str, &str)]) -> String {
    let ports = ["8080", "8081", "9090", "9091"].map(|port| (port, free_port().unwrap().to_string()));
    let here = |text: &str| {
        let text = text.replace(usual, &broker.address().to_string());
        ports.iter().fold(text, |text, (port, own)| text.replace(port, own))
    };
    let (example, folder) = (root().join("examples").join(name), tempfile::tempdir().unwrap());
    for file in example.read_dir().unwrap().flatten() {
        fs::write(folder.path().join(file.file_name()), here(&fs::read_to_string(file.path()).unwrap()))
            .unwrap();
    }
    let readme = fs::read_to_string(folder.path().join("README.md")).unwrap();
    let mut script = String::from("set -euo pipefail; trap 'kill $(jobs -p)' EXIT\n");
    for (flavour, commands) in blocks(&readme) {
        match flavour {
            "broker" => continue,
            "nodes" => script += &format!("{commands}\n{}\n", here(READY)),
            "" => script += &format!("{commands}\n"),
            other => panic!("an unknown kind of block: {other}"),
        }
    }
    let script = others.iter().fold(script, |script, (text, own)| script.replace(text, own));
    let output = bash(&script.replace("curl ", "curl -fS "), folder.path());
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}\n{out}\n{err}");
    for told in
        [r#""data":{"order": 7}"#, r#""metadata":{"shop":"berlin"}"#, r#""status":"acked""#, "order 8"]
    {
        assert!(out.contains(told), "{told} is missing\n{out}\n{err}");
    }
    out.into_owned()
}

/// The fenced blocks for a shell, each with what stands behind the language's name.
fn blocks(text: &str) -> Vec<(&str, &str)> {
    let opened = text.split("\n```sh").skip(1);
    opened
        .map(|rest| rest.split("\n```").next().unwrap())
        .map(|block| block.split_once('\n').unwrap())
        .map(|(flavour, commands)| (flavour.trim(), commands))
        .collect()
}

/// Runs a script where it finds busgate, the native tools and Python with the native clients.
fn bash(script: &str, folder: &Path) -> Output {
    let busgate = Path::new(env!("CARGO_BIN_EXE_busgate")).parent().unwrap().to_owned();
    let own = [busgate, tool("python/bin"), tool("brokers/redis-7.0")];
    let path = std::env::join_paths(own.into_iter().chain(std::env::split_paths(&path()))).unwrap();
    let mut command = Command::new("timeout");
    command.args([PATIENCE, "bash", "-c", script]).env("PATH", path).current_dir(folder);
    command.output().unwrap()
}

fn tool(place: &str) -> PathBuf {
    program(place).unwrap()
}

#[allow(clippy::disallowed_methods, reason = "programs are looked for where the caller's shell would")]
fn path() -> String {
    std::env::var("PATH").unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

#[test]
fn the_configuration_of_nats_is_one() {
    let conf = root().join("examples/nats/nats.conf");
    let output = Command::new(tool("python/bin/nats-server")).arg("-t").arg("-c").arg(conf).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What a broker's service must have, asked of a real reader of YAML: there is no container engine where tests run.
const COMPOSE: &str = "
import sys, yaml
compose = yaml.safe_load(open(sys.argv[1]))
services, volumes = compose['services'], compose['volumes']
for name, service in services.items():
    image, _, tag = service['image'].partition(':')
    assert tag and tag != 'latest', f'{name}: {image} has no version'
    for volume in service['volumes']:
        source = volume.split(':')[0]
        assert source in volumes or source.startswith('.'), f'{name}: {source} is no volume'
for name, port in {'redis': 6379, 'nats': 4222, 'kafka': 9092}.items():
    service = services[name]
    assert service['profiles'] == [name], f'{name} starts unasked'
    assert service['ports'] == [f'127.0.0.1:{port}:{port}'], f'{name} is open to the network'
    print(name)
";

#[test]
fn the_compose_file_has_every_broker() {
    let file = root().join("docker-compose.yml");
    let output = Command::new(tool("python/bin/python3")).args(["-c", COMPOSE]).arg(file).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{err}");
    assert_eq!(out, "redis\nnats\nkafka\n");
}
