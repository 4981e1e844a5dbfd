//! The brokers that all tests share: started for them, or for somebody who works on one.

use std::io::Write;

use busgate_brokers::{Kind, Services};

use crate::places::Places;
use crate::run::{Failure, Outcome};
use crate::tools;

/// The packages whose tests share brokers, and which.
const NEEDED: [(&str, &[Kind]); 5] = [
    (
        "busgate-transports-redis",
        &[Kind::Redis70, Kind::Redis82, Kind::Valkey9, Kind::RedisCluster, Kind::RedisSentinel],
    ),
    ("busgate-transports-nats", &[Kind::Nats215, Kind::Nats29, Kind::NatsCluster]),
    ("busgate-transports-kafka", &[Kind::Kafka]),
    ("busgate-client", &[Kind::Redis70, Kind::Nats215, Kind::Kafka]),
    ("busgate", &[Kind::Redis70, Kind::Redis82, Kind::Valkey9, Kind::Nats215, Kind::Nats29, Kind::Kafka]),
];

/// Starts what the tests of these packages need; what the tests of all need when none is named.
pub(crate) fn start(packages: &[&str]) -> Result<Services, Failure> {
    let needed = |kind: &Kind| {
        packages.is_empty()
            || NEEDED.iter().any(|(package, kinds)| packages.contains(package) && kinds.contains(kind))
    };
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(needed).collect();
    if !kinds.is_empty() {
        let names: Vec<String> = kinds.iter().map(ToString::to_string).collect();
        eprintln!("\n== {}", names.join(", "));
    }
    Ok(Services::start(&kinds)?)
}

/// Starts all, tells how tests find them, and keeps them until it is ended itself.
pub(crate) fn serve(places: &Places) -> Outcome {
    tools::brokers(places)?;
    let services = start(&[])?;
    let lines: String = services.variables().map(|(name, url)| format!("export {name}='{url}'\n")).collect();
    std::io::stdout().write_all(lines.as_bytes()).map_err(Failure::during("tell where they are"))?;
    eprintln!("\nall run until ctrl-c");
    loop {
        std::thread::park();
    }
}
