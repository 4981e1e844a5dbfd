//! The one way to start a task: with an owner that ends it.

use std::{collections::HashMap, future::Future, sync::Arc};

use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The tasks of one owner. Dropping it asks them all to end; [`Tasks::close`] also waits until they have.
#[derive(Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    running: Arc<Mutex<Running>>,
}

/// The handles by which tasks are ended: a task that is only waiting for its own work looks at nothing that it shares
/// with the others, however many there are.
#[derive(Debug, Default)]
struct Running {
    next: u64,
    /// No handle yet between entering and starting.
    handles: HashMap<u64, Option<AbortHandle>>,
}

/// A task's entry; it leaves with the task, however that ends.
struct Entry {
    number: u64,
    running: Arc<Mutex<Running>>,
}

impl Entry {
    fn new(running: &Arc<Mutex<Running>>) -> Self {
        let mut entered = running.lock();
        let number = entered.next;
        entered.next += 1;
        entered.handles.insert(number, None);
        Self { number, running: Arc::clone(running) }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.running.lock().handles.remove(&self.number);
    }
}

impl Tasks {
    /// No tasks yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task that ends with its owner, at the latest: the future is dropped at its next await.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let entry = Entry::new(&self.running);
        let number = entry.number;
        #[allow(clippy::disallowed_methods, reason = "the one place that starts tasks")]
        let handle = tokio::spawn(self.tracker.track_future(async move {
            let _entry = entry;
            task.await;
        }));
        let handle = handle.abort_handle();
        // The task may have ended by now, and its entry with it.
        if let Some(slot) = self.running.lock().handles.get_mut(&number) {
            *slot = Some(handle.clone());
        }
        // Whoever ended all others before the handle stood there did not see this one.
        if self.stop.is_cancelled() {
            handle.abort();
        }
        handle
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
        self.end();
        self.tracker.close();
        self.tracker.wait().await;
    }

    fn end(&self) {
        self.stop.cancel();
        // Taken out first: a task that ends while this goes on takes the lock itself.
        let handles = std::mem::take(&mut self.running.lock().handles);
        handles.into_values().flatten().for_each(|handle| handle.abort());
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.end();
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

    #[tokio::test]
    async fn a_task_that_is_started_too_late_ends_at_once() {
        let (alive, mut ended) = tokio::sync::mpsc::channel::<()>(1);
        let tasks = Tasks::new();
        tasks.close().await;
        tasks.spawn(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        assert!(ended.recv().await.is_none());
    }

    #[tokio::test]
    async fn nothing_is_kept_of_a_task_that_ended() {
        let tasks = Tasks::new();
        tasks.spawn(async {});
        tasks.spawn(async { tokio::task::yield_now().await }).abort();
        while !tasks.is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(tasks.running.lock().handles.is_empty());
    }
}
