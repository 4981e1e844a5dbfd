//! `/openapi.json`: the description of this API, made of the code that serves it.

use std::sync::LazyLock;

use axum::response::Response;
use busgate_wire::{json, json::JSON, status};
use bytes::Bytes;
use serde::Serialize;
use utoipa::{
    Modify, OpenApi, ToResponse, ToSchema,
    openapi::{
        SecurityRequirement,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::typed;

/// Nothing to say.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Done {}

/// The call was refused or failed; `code` names the kind.
#[derive(Debug, ToResponse)]
#[response(description = "it was refused or failed", content_type = "application/problem+json")]
pub(crate) struct Refusal(#[allow(dead_code, reason = "only its schema is used")] status::Problem);

#[derive(OpenApi)]
#[openapi(
    info(title = "busgate", description = "REST in front of any event bus", license(name = "MIT OR Apache-2.0")),
    paths(
        super::events::list,
        super::events::register,
        super::events::unregister,
        super::events::describe,
        super::publish::route,
        super::batch::publish,
        super::history::page,
        super::ack::settle,
        super::health::health,
        super::health::alive,
        super::health::ready,
        super::scrape::authenticated,
        crate::doors::sse::stream,
    ),
    components(responses(Refusal), schemas(json::PublishBody, status::Problem)),
    tags(
        (name = "events", description = "events and what is known of them"),
        (name = "messages", description = "publish, read, stream, settle"),
        (name = "operation", description = "health and metrics"),
    ),
    modifiers(&Keys),
)]
struct Api;

/// Either header carries an API key; without configured keys none is needed.
struct Keys;

impl Modify for Keys {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        let header = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("x-api-key")));
        if let Some(components) = api.components.as_mut() {
            components.add_security_scheme("bearer", bearer);
            components.add_security_scheme("apiKey", header);
        }
        let one = |name: &str| SecurityRequirement::new(name, Vec::<String>::new());
        api.security = Some(vec![SecurityRequirement::default(), one("bearer"), one("apiKey")]);
    }
}

/// It never changes, so it is written once.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| json::to_bytes(&Api::openapi()));

/// Answers with the description.
pub(super) async fn document() -> Response {
    typed(JSON, DOCUMENT.clone())
}
