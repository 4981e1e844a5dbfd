//! The one way to start a task: with an owner that ends it.

use std::future::Future;

use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks of one owner. Dropping it asks them all to end; [`Tasks::close`] also waits until they have.
#[derive(Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// No tasks yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task that ends with its owner, at the latest: the future is dropped at its next await.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let stop = self.stop.clone();
        #[allow(clippy::disallowed_methods, reason = "the one place that starts tasks")]
        let handle = tokio::spawn(self.tracker.track_future(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        }));
        handle.abort_handle()
    }

    /// Resolves when the owner asks its tasks to end; for a task that tidies up first.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// How many are running.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// Whether none is running.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }

    /// Ends all tasks and waits until they have.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_end_with_their_owner() {
        let (alive, mut ended) = tokio::sync::mpsc::channel::<()>(1);
        let tasks = Tasks::new();
        tasks.spawn(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        drop(tasks);
        assert!(ended.recv().await.is_none());
    }

    #[tokio::test]
    async fn close_waits_until_none_runs() {
        let tasks = Tasks::new();
        tasks.spawn(std::future::pending());
        tasks.close().await;
        assert!(tasks.is_empty());
    }
}
