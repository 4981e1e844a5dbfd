//! How Java runs a Kafka: with little warming up, by an archive of its classes and data that is formatted already.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use super::Kafka;
use crate::{Broker, Error, Result};

pub(super) const PROGRAM: &str = "java";

const ARCHIVE: &str = "classes.jsa";
const TEMPLATE: &str = "template";
const LOG: &str = "log4j2.properties";
const LOGGED: &str = "\
status = error
appender.c.type = Console
appender.c.name = C
appender.c.layout.type = PatternLayout
appender.c.layout.pattern = %d{ISO8601} %p %c{1}: %m%n
rootLogger.level = info
rootLogger.appenderRef.c.ref = C
";

/// What a start is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// To serve, by the archive of classes.
    Fast,
    /// To write that archive when it ends.
    Archiving,
}

/// Makes of a folder with the jars of Kafka (`HOME/libs`) one that [`Kafka`] starts fast from: one run that is thrown
/// away leaves the archive of its classes, and formatted data.
///
/// # Errors
/// Where Kafka does not start from those jars.
pub fn prepare(home: &Path) -> Result<()> {
    fs::write(home.join(LOG), LOGGED).map_err(Error::during("write the settings of its log"))?;
    let broker = Broker::start_by(|folder| Kafka::new().plan(home, folder, Start::Archiving))?;
    broker.stop()?;
    // Data of a broker that never ran: formatted, and nothing else.
    broker.wipe()?;
    broker.fill()?;
    let kept = fs::rename(broker.data(), home.join(TEMPLATE));
    kept.or_else(|_| crate::broker::copy(&broker.data(), &home.join(TEMPLATE)))
        .map_err(Error::during("keep the formatted data"))
}

/// The arguments that serve by `properties`.
pub(super) fn serve(home: &Path, properties: &Path, start: Start) -> Result<Vec<OsString>> {
    let archive = home.join(ARCHIVE);
    let mut arguments = vec![OsString::from("-Xmx512m")];
    match start {
        Start::Fast if archive.exists() => arguments.push(with("-XX:SharedArchiveFile=", &archive)),
        Start::Fast => {}
        Start::Archiving => arguments.push(with("-XX:ArchiveClassesAtExit=", &archive)),
    }
    arguments.extend(machine(home)?);
    arguments.extend(["kafka.Kafka".into(), properties.into()]);
    Ok(arguments)
}

/// What formats the data of a broker with these `properties`.
pub(super) fn format(home: &Path, properties: &Path, more: &[OsString]) -> Result<Vec<OsString>> {
    let mut arguments = vec![OsString::from(PROGRAM)];
    arguments.extend(machine(home)?);
    let tool = ["kafka.tools.StorageTool", "format", "--standalone", "-t", "AAAAAAAAQACAAAAAAAAAAA", "-c"];
    arguments.extend(tool.map(OsString::from));
    arguments.push(properties.into());
    arguments.extend_from_slice(more);
    Ok(arguments)
}

fn machine(home: &Path) -> Result<Vec<OsString>> {
    let quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-Djava.awt.headless=true"];
    let mut arguments: Vec<OsString> = quick.map(OsString::from).into();
    arguments.push(with("-Dlog4j2.configurationFile=file:", &home.join(LOG)));
    arguments.extend(["-cp".into(), classes(home)?]);
    Ok(arguments)
}

/// All jars, always in the same order: the archive is tied to it.
fn classes(home: &Path) -> Result<OsString> {
    let listed = fs::read_dir(home.join("libs")).map_err(Error::during("the jars of Kafka"))?;
    let mut jars: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).collect();
    jars.sort();
    std::env::join_paths(jars).map_err(Error::during("the jars of Kafka"))
}

fn with(option: &str, path: &Path) -> OsString {
    let mut option = OsString::from(option);
    option.push(path);
    option
}
