//! `/docs`: the description of this API for people, on one page that asks nobody else for anything.

use axum::response::{Html, IntoResponse, Response};
use http::header::CONTENT_SECURITY_POLICY;

/// Only what is on the page itself runs, and it talks to this gateway only.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'";

/// Answers with the page.
pub(super) async fn page() -> Response {
    ([(CONTENT_SECURITY_POLICY, POLICY)], Html(include_str!("docs.html"))).into_response()
}
