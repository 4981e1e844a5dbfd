//! The timer of an HTTP/1.1 connection: one alarm for its whole life.

#![allow(clippy::disallowed_types, reason = "hyper's trait names std's instant; the time itself is tokio's")]

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use hyper::rt;
use parking_lot::Mutex;
use tokio::time::Sleep;

/// Times how long a connection's next request may take to begin.
///
/// The HTTP server asks for a sleep with each request and drops it when the request is there. Here a sleep only says
/// until when; the one alarm stays where it is and is set anew when it rings, which is once in that time at most.
#[derive(Clone, Default)]
pub(super) struct Timer(Arc<Mutex<Option<Pin<Box<Sleep>>>>>);

struct Until {
    deadline: Instant,
    timer: Timer,
}

impl Future for Until {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline.into();
        let mut alarm = self.timer.0.lock();
        let alarm = alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if alarm.deadline() > deadline {
            alarm.as_mut().reset(deadline);
        }
        loop {
            ready!(alarm.as_mut().poll(cx));
            if alarm.deadline() >= deadline {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(deadline);
        }
    }
}

impl rt::Sleep for Until {}

impl rt::Timer for Timer {
    fn sleep(&self, duration: std::time::Duration) -> Pin<Box<dyn rt::Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(Until { deadline, timer: self.clone() })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into()
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Timer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use hyper::rt::Timer as _;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn each_sleep_ends_at_its_own_time() {
        let timer = Timer::default();
        let start = tokio::time::Instant::now();
        for seconds in [1, 3, 2, 5] {
            let mut dropped = timer.sleep(SECOND * 4);
            assert!(dropped.as_mut().now_or_never().is_none());
            drop(dropped);
            let begun = start.elapsed();
            timer.sleep(SECOND * seconds).await;
            assert_eq!((start.elapsed() - begun).as_secs(), u64::from(seconds));
        }
    }
}
