//! One call from its start to its answer: who calls, how long it takes, and how a failure is told.

use std::sync::Arc;

use busgate_core::{Caller, Error, ErrorKind, Result};
use busgate_wire::status;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::{app::App, doors::request_id::RequestId, metrics::Door};

/// A call under way.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) app: Arc<App>,
    id: RequestId,
    started: Instant,
}

impl Call {
    pub(super) fn new<T>(app: &Arc<App>, request: &Request<T>) -> Self {
        let id = RequestId::of(request.metadata().as_ref());
        Self { app: Arc::clone(app), id, started: Instant::now() }
    }

    /// Who calls, and with what.
    ///
    /// # Errors
    /// `unauthenticated` without credentials that are known.
    pub(super) fn open<T>(&self, request: Request<T>) -> Result<(Caller, T)> {
        let caller = self.app.caller(request.metadata().as_ref())?;
        Ok((caller, request.into_inner()))
    }

    /// The answer, counted.
    pub(super) fn answer<T>(&self, result: Result<T>) -> Result<Response<T>, Status> {
        let failed = result.as_ref().err().map(Error::kind);
        self.app.metrics.door(Door::Grpc).observe(failed, self.started.elapsed());
        result.map(Response::new).map_err(|error| self.status(&error))
    }

    /// The status that tells the client of `error`.
    pub(super) fn status(&self, error: &Error) -> Status {
        if error.kind() == ErrorKind::Internal {
            let source = std::error::Error::source(error).map(ToString::to_string);
            tracing::error!(request_id = %self.id, %error, source, "a call failed");
        }
        status::to_grpc(error, Some(self.id.as_str()))
    }
}

/// What a status means that tonic made of a request: an internal error of its own is a request it could not read.
pub(super) fn unreadable(status: &Status) -> Error {
    let error = status::from_grpc(status);
    match error.kind() {
        ErrorKind::Internal => Error::invalid(status.message()),
        _ => error,
    }
}
