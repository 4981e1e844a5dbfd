//! What a later version will serve: refused by name, so that nobody mistakes it for a wrong path.

use busgate_core::Error;
use http::Uri;

use crate::doors::{extract::Authenticated, problem::Problem};

/// The paths.
pub(super) const PATHS: [&str; 10] = [
    "/v1/events/{name}/pull",
    "/v1/events/{name}/request",
    "/v1/deadletters",
    "/v1/deadletters/{*rest}",
    "/v1/schedules",
    "/v1/schedules/{*rest}",
    "/v1/tickets",
    "/v1/cloudevents",
    "/v1/cloudevents/{event}",
    "/v1/subscriptions",
];

/// Refuses the call.
pub(super) async fn refuse(_: Authenticated, uri: Uri) -> Problem {
    Problem(Error::unsupported(format!("{} is not supported", uri.path())))
}
