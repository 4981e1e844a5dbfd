//! Runs one law under its deadline.

use std::{
    future::Future,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use tokio::runtime::{Builder, Runtime};

use crate::{Broken, Harness, Pace, Stage, Time, Verdict};

/// Runs `law` on a fresh transport of `harness`; what [`crate::suite!`] writes into each test.
///
/// # Errors
/// When the law is broken, panics or does not end in time.
pub fn run<L, F>(time: Time, name: &str, harness: impl Harness, law: L) -> Verdict
where
    L: FnOnce(Stage) -> F + Send + 'static,
    F: Future<Output = Verdict>,
{
    let pace = harness.pace(time);
    let wall = pace.wall;
    let (done, verdict) = mpsc::channel();
    thread::spawn(move || {
        // Invariant: the verdict is sent even when nobody waits for it any more, so the result does not matter.
        let _ = done.send(drive(time, Arc::new(harness), pace, law));
    });
    let found = match verdict.recv_timeout(wall) {
        Ok(found) => found,
        Err(mpsc::RecvTimeoutError::Timeout) => Err(Broken::new(format!("blocked or spun for {wall:?}"))),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(Broken::new("panicked")),
    };
    found.map_err(|broken| broken.during(name))
}

fn drive<L, F>(time: Time, harness: Arc<dyn Harness>, pace: Pace, law: L) -> Verdict
where
    L: FnOnce(Stage) -> F,
    F: Future<Output = Verdict>,
{
    let runtime = runtime(time).map_err(|error| Broken::new(format!("no runtime: {error}")))?;
    let verdict = runtime.block_on(async {
        let deadline = pace.deadline;
        let law = Box::pin(async { law(Stage::open(harness, pace).await).await });
        match tokio::time::timeout(deadline, law).await {
            Ok(verdict) => verdict,
            Err(_) => Err(Broken::new(format!("did not end within {deadline:?}"))),
        }
    });
    // A transport's own threads may be at work still; a law does not wait for them.
    runtime.shutdown_timeout(Duration::from_secs(5));
    verdict
}

fn runtime(time: Time) -> std::io::Result<Runtime> {
    match time {
        Time::Paused => Builder::new_current_thread().enable_all().start_paused(true).build(),
        Time::Real => Builder::new_multi_thread().worker_threads(2).enable_all().build(),
    }
}
