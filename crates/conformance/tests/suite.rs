//! The suite itself: it passes a transport that claims nothing and refuses the rest, and fails those that are careless.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use async_trait::async_trait;
use busgate_conformance::{Broken, Harness, Pace, Stage, Time, Verdict, run};
use busgate_core::{Tasks, Transport};

use self::live::Live;

#[path = "suite/live.rs"]
mod live;

/// A transport with live broadcast and nothing else.
#[derive(Debug)]
struct Careful;

#[async_trait]
impl Harness for Careful {
    async fn open(&self) -> Arc<dyn Transport> {
        Live::new(false)
    }
}

/// The same, but what it can't do it ignores instead of refusing it.
#[derive(Debug)]
struct Careless;

#[async_trait]
impl Harness for Careless {
    async fn open(&self) -> Arc<dyn Transport> {
        Live::new(true)
    }
}

/// For laws that never end.
#[derive(Debug)]
struct Hasty;

#[async_trait]
impl Harness for Hasty {
    async fn open(&self) -> Arc<dyn Transport> {
        Live::new(false)
    }

    fn pace(&self, time: Time) -> Pace {
        Pace { deadline: Duration::from_secs(5), wall: Duration::from_millis(100), ..Pace::of(time) }
    }
}

mod careful {
    use super::Careful;

    busgate_conformance::suite!(paused, Careful);
}

macro_rules! caught {
    ($($law:ident)*) => {
        $(
            #[test]
            fn $law() {
                let verdict = run(Time::Paused, stringify!($law), super::Careless, laws::refusal::$law);
                let broken = verdict.expect_err("what is ignored instead of refused must break the law");
                assert!(broken.to_string().contains("not claimed"), "{broken}");
            }
        )*
    };
}

mod what_is_ignored_breaks_the_law_of {
    use busgate_conformance::{Time, laws, run};

    caught! { replay replay_from_time worker_pool dedup resume redelivery delayed_requeue extend dead_letters }
}

async fn breaks(_: Stage) -> Verdict {
    Err(Broken::new("as it should"))
}

#[allow(clippy::panic, reason = "it is what the test is about")]
async fn panics(_: Stage) -> Verdict {
    panic!("a bug in the transport")
}

async fn waits(_: Stage) -> Verdict {
    std::future::pending().await
}

async fn blocks(_: Stage) -> Verdict {
    thread::park();
    Ok(())
}

#[test]
fn a_broken_law_is_told_with_its_name_and_place() {
    let broken = run(Time::Paused, "some::law", Careful, breaks).unwrap_err().to_string();
    assert!(
        broken.contains("some::law") && broken.contains("as it should") && broken.contains("suite.rs"),
        "{broken}"
    );
}

#[test]
fn a_panic_in_a_transport_breaks_the_law() {
    assert!(run(Time::Paused, "law", Careful, panics).unwrap_err().to_string().contains("panicked"));
}

#[test]
fn a_law_that_waits_for_ever_ends_at_its_deadline() {
    assert!(
        run(Time::Paused, "law", Hasty, waits).unwrap_err().to_string().contains("did not end within 5s")
    );
}

#[test]
fn a_law_that_blocks_its_thread_ends_all_the_same() {
    assert!(run(Time::Real, "law", Hasty, blocks).unwrap_err().to_string().contains("blocked or spun"));
}

async fn breaks_once_while_the_clock_stands_still(_: Stage) -> Verdict {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    // One moment for the watch on the clock to fall asleep.
    tokio::time::sleep(Duration::from_millis(20)).await;
    if RUNS.fetch_add(1, Ordering::Relaxed) > 0 {
        return Ok(());
    }
    // As a machine does that has other things to do: no worker of the runtime gets on.
    let busy = Tasks::new();
    for _ in 0..2 {
        busy.spawn(async { thread::sleep(Duration::from_millis(600)) });
    }
    thread::sleep(Duration::from_millis(600));
    tokio::time::sleep(Duration::from_millis(50)).await;
    Err(Broken::new("late"))
}

#[test]
fn a_law_broken_while_the_machine_stood_still_is_run_again() {
    run(Time::Real, "law", Careful, breaks_once_while_the_clock_stands_still).unwrap();
}

#[test]
fn every_law_is_in_the_suite() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let suite = fs::read_to_string(source.join("suite.rs")).unwrap();
    let (mut listed, mut area) = (BTreeSet::new(), String::new());
    for line in suite.lines().map(str::trim) {
        if let Some(name) = line.strip_suffix(" {").filter(|name| !name.contains([' ', '!', '$', '('])) {
            area = name.to_owned();
        } else if line.chars().all(|c| c.is_ascii_lowercase() || c == '_') && !line.is_empty() {
            listed.insert(format!("{area}::{line}"));
        }
    }
    let mut written = BTreeSet::new();
    for file in fs::read_dir(source.join("laws")).unwrap() {
        let path = file.unwrap().path();
        let area = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let laws = fs::read_to_string(&path).unwrap();
        let laws: Vec<_> = laws.lines().collect();
        for pair in laws.windows(2) {
            let Some(rest) = pair[1].strip_prefix("pub async fn ") else { continue };
            let name = rest.split('(').next().unwrap();
            assert!(pair[0].starts_with("/// catches: "), "{area}::{name} does not say what it catches");
            written.insert(format!("{area}::{name}"));
        }
    }
    assert!(written.len() >= 200, "only {} laws are found", written.len());
    assert_eq!(listed, written);
}
