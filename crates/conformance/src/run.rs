//! Runs one law under its deadline.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use busgate_core::Tasks;
use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, sleep},
};

use crate::{Broken, Harness, Pace, Stage, Time, Verdict};

/// How often a law is run whose time the machine took away.
const RUNS: usize = 5;

/// How often the clock is looked at, to see whether it stood still.
const TICK: Duration = Duration::from_millis(5);

/// Runs `law` on a fresh transport of `harness`; what [`crate::suite!`] writes into each test.
///
/// By the real clock, a law that is broken while the machine stood still (for longer than a quarter of the pace's slack,
/// or of its lease) says nothing about the transport, and is run again.
///
/// # Errors
/// When the law is broken, panics or does not end in time.
pub fn run<L, F>(time: Time, name: &str, harness: impl Harness, law: L) -> Verdict
where
    L: Fn(Stage) -> F + Copy + Send + 'static,
    F: Future<Output = Verdict>,
{
    let harness: Arc<dyn Harness> = Arc::new(harness);
    let mut runs = 0;
    loop {
        runs += 1;
        let pace = harness.pace(time);
        let disturbed = pace.slack.min(pace.short) / 4;
        let (verdict, stood_still) = run_once(time, Arc::clone(&harness), pace, law);
        match verdict {
            Err(broken) if stood_still <= disturbed || runs == RUNS => return Err(broken.during(name)),
            Err(_) => {}
            Ok(()) => return Ok(()),
        }
    }
}

/// The verdict, and how long the clock stood still at most.
fn run_once<L, F>(time: Time, harness: Arc<dyn Harness>, pace: Pace, law: L) -> (Verdict, Duration)
where
    L: Fn(Stage) -> F + Send + 'static,
    F: Future<Output = Verdict>,
{
    let wall = pace.wall;
    let (done, verdict) = mpsc::channel();
    thread::spawn(move || {
        // Invariant: the verdict is sent even when nobody waits for it any more, so the result does not matter.
        let _ = done.send(drive(time, harness, pace, law));
    });
    let broken = |what: String| (Err(Broken::new(what)), Duration::ZERO);
    match verdict.recv_timeout(wall) {
        Ok(found) => found,
        Err(mpsc::RecvTimeoutError::Timeout) => broken(format!("blocked or spun for {wall:?}")),
        Err(mpsc::RecvTimeoutError::Disconnected) => broken("panicked".into()),
    }
}

fn drive<L, F>(time: Time, harness: Arc<dyn Harness>, pace: Pace, law: L) -> (Verdict, Duration)
where
    L: FnOnce(Stage) -> F,
    F: Future<Output = Verdict>,
{
    let runtime = match runtime(time) {
        Ok(runtime) => runtime,
        Err(error) => return (Err(Broken::new(format!("no runtime: {error}"))), Duration::ZERO),
    };
    let stood_still = Arc::new(AtomicU64::new(0));
    let verdict = runtime.block_on(async {
        let tasks = Tasks::new();
        if time == Time::Real {
            tasks.spawn(watch_the_clock(Arc::clone(&stood_still)));
        }
        let deadline = pace.deadline;
        let law = Box::pin(async { law(Stage::open(harness, pace).await).await });
        match tokio::time::timeout(deadline, law).await {
            Ok(verdict) => verdict,
            Err(_) => Err(Broken::new(format!("did not end within {deadline:?}"))),
        }
    });
    // A transport's own threads may be at work still; a law does not wait for them.
    runtime.shutdown_timeout(Duration::from_secs(5));
    (verdict, Duration::from_millis(stood_still.load(Ordering::Relaxed)))
}

/// Keeps the longest time, in milliseconds, by which a short sleep was too long.
async fn watch_the_clock(longest: Arc<AtomicU64>) {
    loop {
        let start = Instant::now();
        sleep(TICK).await;
        let late = start.elapsed().saturating_sub(TICK);
        longest.fetch_max(u64::try_from(late.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

fn runtime(time: Time) -> std::io::Result<Runtime> {
    match time {
        Time::Paused => Builder::new_current_thread().enable_all().start_paused(true).build(),
        Time::Real => Builder::new_multi_thread().worker_threads(2).enable_all().build(),
    }
}
