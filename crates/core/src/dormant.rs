//! Waiting at no cost for what rarely happens.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::{future::BoxFuture, task::AtomicWaker};

/// A future that is polled only when it has asked to be.
///
/// A task that waits for many things polls them all whenever one of them happens. What all tasks wait for (the end of
/// the process) would then be a lock that they all take for every message.
pub struct Dormant {
    future: BoxFuture<'static, ()>,
    alarm: Arc<Alarm>,
}

#[derive(Debug)]
struct Alarm {
    rang: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rang.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl Dormant {
    /// Waits for `future`.
    pub fn new(future: impl Future<Output = ()> + Send + 'static) -> Self {
        let alarm = Arc::new(Alarm { rang: AtomicBool::new(true), task: AtomicWaker::new() });
        Self { future: Box::pin(future), alarm }
    }
}

impl Future for Dormant {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Registered before the look, so that no alarm in between is missed.
        self.alarm.task.register(cx.waker());
        if !self.alarm.rang.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        // Whoever rings from here on is heard the next time.
        self.alarm.rang.swap(false, Ordering::AcqRel);
        let waker = Waker::from(Arc::clone(&self.alarm));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

impl fmt::Debug for Dormant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dormant").field("alarm", &self.alarm).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::atomic::AtomicUsize};

    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn it_is_polled_when_it_asked_and_only_then() {
        let polls = Arc::new(AtomicUsize::new(0));
        let (happen, mut happened) = oneshot::channel::<()>();
        let counted = Arc::clone(&polls);
        let mut dormant = Dormant::new(poll_fn(move |cx| {
            counted.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut happened).poll(cx).map(|_| ())
        }));
        for _ in 0..5 {
            assert!((&mut dormant).now_or_never().is_none());
        }
        assert_eq!(polls.load(Ordering::Relaxed), 1);
        let waits = tokio::join!(dormant, async { happen.send(()).unwrap() });
        assert_eq!((waits.0, polls.load(Ordering::Relaxed)), ((), 2));
    }

    #[tokio::test]
    async fn it_wakes_the_task_that_polled_it_last() {
        let (happen, happened) = oneshot::channel::<()>();
        let mut dormant = Dormant::new(async move { _ = happened.await });
        assert!((&mut dormant).now_or_never().is_none());
        #[allow(clippy::disallowed_methods, reason = "another task is the point")]
        let waits = tokio::spawn(dormant);
        tokio::task::yield_now().await;
        happen.send(()).unwrap();
        waits.await.unwrap();
    }
}
