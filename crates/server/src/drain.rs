//! The signals that end the process: the first drains, a second one ends at once.

use std::{io, process::ExitCode};

use tokio::signal;

use crate::server::Server;

/// How a process ends that was told twice.
const TOLD_TWICE: u8 = 1;

/// Serves until the process is told to end, then drains.
pub(crate) async fn run(server: Server, mut signals: Signals) -> ExitCode {
    signals.next().await;
    tokio::select! {
        closed = server.shutdown() => {
            if let Err(error) = closed {
                tracing::warn!(%error, "the transport did not close in good order");
            }
            tracing::info!("done");
            ExitCode::SUCCESS
        }
        () = signals.next() => {
            tracing::warn!("told twice: ended at once");
            ExitCode::from(TOLD_TWICE)
        }
    }
}

/// What tells the process to end. From when there is one, a signal does not end it by itself any more.
#[cfg(unix)]
pub(crate) struct Signals {
    terminate: signal::unix::Signal,
    interrupt: signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// When signals can't be listened to.
    pub(crate) fn new() -> io::Result<Self> {
        use signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What tells the process to end.
#[cfg(not(unix))]
pub(crate) struct Signals;

#[cfg(not(unix))]
impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// None; it is as fallible as on Unix.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self)
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        if signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
