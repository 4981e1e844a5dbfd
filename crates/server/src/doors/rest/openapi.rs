//! `/openapi.json`: the description of this API, made of the code that serves it.

use std::sync::{Arc, LazyLock};

use axum::{extract::State, response::Response};
use busgate_wire::{json, json::JSON, status};
use bytes::Bytes;
use serde::Serialize;
use utoipa::{
    Modify, OpenApi, ToResponse, ToSchema,
    openapi::{
        Ref, RefOr, SecurityRequirement, path,
        schema::{Schema, SchemaType, Type},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::typed;
use crate::app::App;

/// Nothing to say.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Done {}

/// A server-sent event.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
pub(crate) struct Event {
    /// `message`, `heartbeat`, `gap`, `draining` or `error`.
    #[schema(pattern = "^(message|heartbeat|gap|draining|error)$")]
    event: String,
    /// The cursor of a message or of the place where delivery goes on after a gap.
    #[schema(nullable = false)]
    id: Option<String>,
    /// JSON: what it tells.
    data: String,
}

/// The call was refused or failed; `code` names the kind.
#[derive(Debug, ToResponse)]
#[response(
    description = "it was refused or failed",
    content_type = "application/problem+json",
    headers(
        ("x-request-id" = String, description = "the request, as the log calls it"),
        ("busgate-error-kind" = String, description = "the kind of error, like `code`"),
        ("busgate-effect" = String, description = "none or unknown: whether the call may have taken effect"),
    ),
)]
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
        super::history::message,
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
    modifiers(&Bodies),
)]
struct Api;

/// What the attributes of the handlers can't say.
struct Bodies;

impl Modify for Bodies {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        for operation in operations(api) {
            if let Some(RefOr::T(body)) = &mut operation.request_body
                && let Some(RefOr::T(raw)) = body.content.get_mut("application/octet-stream")
            {
                // Any bytes, and none.
                raw.schema = None;
                body.required = None;
            }
            operation.parameters.iter_mut().flatten().for_each(not_null);
        }
    }
}

/// A header that is not there is no null.
fn not_null(parameter: &mut RefOr<path::Parameter>) {
    let RefOr::T(parameter) = parameter else { return };
    if let (path::ParameterIn::Header, Some(RefOr::T(Schema::Object(object)))) =
        (&parameter.parameter_in, &mut parameter.schema)
    {
        object.schema_type = SchemaType::Type(Type::String);
    }
}

/// What a gateway with keys adds: either header carries one, and every call that wants one may refuse it.
fn with_keys(mut api: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    let header = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("x-api-key")));
    if let Some(components) = api.components.as_mut() {
        components.add_security_scheme("bearer", bearer);
        components.add_security_scheme("apiKey", header);
    }
    let one = |name: &str| SecurityRequirement::new(name, Vec::<String>::new());
    api.security = Some(vec![one("bearer"), one("apiKey")]);
    // Those that name a security of their own want none.
    for operation in operations(&mut api).filter(|operation| operation.security.is_none()) {
        for code in ["401", "403"] {
            let refusal = RefOr::Ref(Ref::from_response_name("Refusal"));
            operation.responses.responses.insert(code.to_owned(), refusal);
        }
    }
    api
}

fn operations(api: &mut utoipa::openapi::OpenApi) -> impl Iterator<Item = &mut path::Operation> {
    let items = api.paths.paths.values_mut();
    items.flat_map(|item| [&mut item.get, &mut item.post, &mut item.delete].into_iter().flatten())
}

/// They never change, so they are written once: for a gateway without keys, and for one with.
static OPEN: LazyLock<Bytes> = LazyLock::new(|| json::to_bytes(&Api::openapi()));
static WITH_KEYS: LazyLock<Bytes> = LazyLock::new(|| json::to_bytes(&with_keys(Api::openapi())));

/// Answers with the description.
pub(super) async fn document(State(app): State<Arc<App>>) -> Response {
    let document = if app.authentication.is_open() { &OPEN } else { &WITH_KEYS };
    typed(JSON, Bytes::clone(document))
}
