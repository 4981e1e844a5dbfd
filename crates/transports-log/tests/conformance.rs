//! The contract, kept by the log.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use busgate_conformance::{Harness, Stop};
use busgate_core::{Clock, SystemClock, Transport};
use busgate_transports_log::{LogConfig, LogTransport};
use parking_lot::Mutex;
use tempfile::TempDir;

mod support;

/// A log in a directory of its own; a kill goes on with a copy of the files as the kill would leave them.
#[derive(Debug)]
struct LogHarness {
    clock: Arc<dyn Clock>,
    directories: Mutex<Vec<TempDir>>,
}

impl LogHarness {
    fn new() -> Self {
        Self { clock: SystemClock::shared(), directories: Mutex::new(Vec::new()) }
    }

    async fn open_in(&self, directory: &Path) -> Arc<dyn Transport> {
        let config = LogConfig { clock: Arc::clone(&self.clock), ..LogConfig::new(directory) };
        LogTransport::open(config).await.unwrap()
    }
}

#[async_trait]
impl Harness for LogHarness {
    async fn open(&self) -> Arc<dyn Transport> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        self.directories.lock().push(directory);
        self.open_in(&path).await
    }

    /// One process owns the files: every node there is settles through the same transport.
    async fn open_second(&self, first: &Arc<dyn Transport>) -> Option<Arc<dyn Transport>> {
        Some(Arc::clone(first))
    }

    async fn reopen(&self, previous: Arc<dyn Transport>, stop: Stop) -> Option<Arc<dyn Transport>> {
        let path = self.directories.lock().last().unwrap().path().to_owned();
        if stop == Stop::Close {
            previous.close().await.unwrap();
            drop(previous);
            return Some(self.open_in(&path).await);
        }
        let copy = tempfile::tempdir().unwrap();
        support::copy_as_killed(&path, copy.path());
        let path = copy.path().to_owned();
        self.directories.lock().push(copy);
        Some(self.open_in(&path).await)
    }
}

busgate_conformance::suite!(real, LogHarness::new());
