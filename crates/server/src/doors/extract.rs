//! What handlers take from a request: the caller, the event, options; each wrong one is a problem of the table.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use busgate_core::{Caller, Cursor, Error, EventName, Pattern};
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::app::App;

/// Who calls.
#[derive(Debug)]
pub(crate) struct Authenticated(pub(crate) Caller);

impl FromRequestParts<Arc<App>> for Authenticated {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        Ok(Self(app.caller(&parts.headers)?))
    }
}

/// The event in the path.
#[derive(Debug)]
pub(crate) struct Event(pub(crate) EventName);

impl<S: Send + Sync> FromRequestParts<S> for Event {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self(EventName::new(segment(parts, state).await?)?))
    }
}

/// The event or pattern in the path.
#[derive(Debug)]
pub(crate) struct Target(pub(crate) Pattern);

impl<S: Send + Sync> FromRequestParts<S> for Target {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self(Pattern::new(segment(parts, state).await?)?))
    }
}

/// The event and the cursor in the path.
#[derive(Debug)]
pub(crate) struct Place(pub(crate) EventName, pub(crate) Cursor);

impl<S: Send + Sync> FromRequestParts<S> for Place {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let (event, cursor): (String, String) = path(parts, state).await?;
        Ok(Self(EventName::new(event)?, Cursor::new(cursor)?))
    }
}

async fn segment<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, Problem> {
    path(parts, state).await
}

async fn path<T, S>(parts: &mut Parts, state: &S) -> Result<T, Problem>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    match Path::from_request_parts(parts, state).await {
        Ok(Path(segments)) => Ok(segments),
        Err(_) => Err(Problem(Error::invalid("the path is not UTF-8"))),
    }
}

/// Refuses a query on a call that has no options.
///
/// # Errors
/// `invalid` when there is one.
pub(crate) fn no_options(query: Option<&str>) -> Result<(), Error> {
    match query.filter(|query| !query.is_empty()) {
        Some(_) => Err(Error::invalid("this call has no options")),
        None => Ok(()),
    }
}
