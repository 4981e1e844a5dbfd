//! Killed at any moment, under load: every acknowledged publish is there, none twice, and no acknowledged ack is undone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    collections::{HashMap, HashSet},
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use busgate_core::{EventConfig, Item, Transport};
use busgate_transports_log::LogTransport;
use futures_util::StreamExt;
use support::{event, message, open, pool, publish, read_all, subscribe};

/// How often the child is killed; `cargo xtask kill9` builds the test with another number.
const CYCLES: &str = match option_env!("BUSGATE_KILL9_CYCLES") {
    Some(cycles) => cycles,
    None => "20",
};

/// How many publishers the child runs.
const PUBLISHERS: usize = 64;

/// The name of the data directory: who runs in one is the child.
const DATA: &str = "kill-me";

/// The test starts itself again in the data directory, and kills that.
#[test]
fn killed_under_load() {
    if env::current_dir().unwrap().ends_with(DATA) {
        return load();
    }
    kill_and_check(CYCLES.parse().unwrap());
}

/// The child: publishes and acks as fast as it can, and says what was acknowledged, one line each.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn load() {
    let directory = env::current_dir().unwrap();
    let log = open(&directory).await;
    log.register(&event("load"), &EventConfig::default()).await.unwrap();
    let run = log.events().await.unwrap()[0].newest.as_ref().map_or_else(|| "0".into(), ToString::to_string);
    let publishers = (0..PUBLISHERS).map(|publisher| publish_for_ever(&log, &run, publisher));
    let publishers = futures_util::future::join_all(publishers);
    tokio::join!(publishers, ack_for_ever(&log));
}

async fn publish_for_ever(log: &LogTransport, run: &str, publisher: usize) {
    for n in 0.. {
        let id = format!("{run}/{publisher}/{n}");
        let payload = id.repeat(1 + n % 40);
        publish(log, "load", message(&id, payload)).await.unwrap();
        say("published", &id);
    }
}

async fn ack_for_ever(log: &Arc<LogTransport>) {
    let mut members = subscribe(log, "load", pool()).await;
    let mut running = futures_util::stream::FuturesUnordered::new();
    loop {
        while running.len() >= 32 {
            running.next().await;
        }
        let Some(Ok(Item::Delivery(delivery))) = members.next().await else { panic!("no delivery") };
        running.push(async move {
            let id = delivery.message.id.clone();
            delivery.ack().await.unwrap();
            say("acked", id.as_str());
        });
    }
}

/// One line in one write, so that a kill cuts none in two.
fn say(what: &str, id: &str) {
    let line = format!("\n{what} {id}\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}

fn kill_and_check(cycles: usize) {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join(DATA);
    std::fs::create_dir(&data).unwrap();
    let (mut published, mut acked) = (HashSet::new(), HashSet::new());
    for cycle in 0..cycles {
        // From the first answers to deep in the load, and never at the same place of a commit.
        let answers = 1 + cycle * 997 % 3001;
        for line in run_and_kill(&data, answers) {
            let Some((what, id)) = line.split_once(' ') else { continue };
            let known = match what {
                "published" => &mut published,
                "acked" => &mut acked,
                _ => continue,
            };
            assert!(known.insert(id.to_owned()), "{id} was {what} twice");
        }
        if cycle % 5 == 4 || cycle + 1 == cycles {
            check(&data, &published, &acked);
        }
    }
    assert!(published.len() > cycles && acked.len() > cycles, "{} and {}", published.len(), acked.len());
}

/// Runs the child, kills it after so many answers, and returns everything it said.
fn run_and_kill(data: &Path, answers: usize) -> Vec<String> {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "killed_under_load", "--nocapture"])
        .current_dir(data)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let is_answer = |line: &String| line.starts_with("published ") || line.starts_with("acked ");
    let mut said: Vec<String> = lines.by_ref().filter(is_answer).take(answers).collect();
    child.kill().unwrap();
    // What was in the pipe was said before the kill.
    said.extend(lines);
    child.wait().unwrap();
    said
}

#[tokio::main(flavor = "current_thread")]
async fn check(directory: &Path, published: &HashSet<String>, acked: &HashSet<String>) {
    let log = open(directory).await;
    let held = read_all(&log, "load").await.unwrap();
    let mut times: HashMap<&str, usize> = HashMap::new();
    for message in &held {
        let id = message.id.as_str();
        assert!(message.payload.chunks(id.len()).all(|chunk| chunk == id.as_bytes()), "{id} has changed");
        *times.entry(id).or_default() += 1;
    }
    assert!(times.values().all(|times| *times == 1), "a message is there twice");
    let lost: Vec<_> = published.iter().filter(|id| !times.contains_key(id.as_str())).collect();
    assert!(lost.is_empty(), "{} acknowledged messages are lost: {lost:?}", lost.len());
    let waiting = log.lag(&event("load")).await.unwrap()[0].waiting.unwrap();
    let done = held.len() as u64 - waiting;
    assert!(done >= acked.len() as u64, "{done} are done, {} were acked", acked.len());
    let mut members = subscribe(&log, "load", pool()).await;
    for _ in 0..waiting.min(200) {
        let Some(Ok(Item::Delivery(delivery))) = members.next().await else { panic!("no delivery") };
        assert!(!acked.contains(delivery.message.id.as_str()), "{} came back", delivery.message.id);
    }
    drop(members);
    log.close().await.unwrap();
}
