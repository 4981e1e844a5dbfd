//! The gRPC door: `event.v1.EventService`, reflection and health, over HTTP/2 and as gRPC-Web.

mod call;
mod consume;
mod health;
mod outlet;
mod publish;
mod publish_stream;
mod service;
mod subscribe;
mod web;

use std::sync::Arc;

use axum::{Router, middleware};
use busgate_wire::proto::{DESCRIPTORS, event::v1::event_service_server::EventServiceServer};
use tonic::service::Routes;
use tonic_health::pb::{FILE_DESCRIPTOR_SET, health_server::HealthServer};
use tonic_reflection::server::Builder;
use tonic_web::GrpcWebLayer;

use self::{health::Probe, service::Service};
use crate::app::App;

/// Everything that is served on the gRPC port.
pub(crate) fn routes(app: &Arc<App>) -> Router {
    let events = EventServiceServer::new(Service::new(Arc::clone(app)))
        .max_decoding_message_size(app.doors.max_body_bytes)
        .max_encoding_message_size(usize::MAX);
    let routes = Routes::new(events).add_service(HealthServer::new(Probe::new(app.gateway.clone())));
    with_reflection(routes)
        .prepare()
        .into_axum_router()
        .layer(GrpcWebLayer::new())
        .layer(middleware::from_fn_with_state(Arc::clone(app), web::guard))
}

/// Adds reflection, in the version of today and in the one that older tools ask for.
fn with_reflection(routes: Routes) -> Routes {
    let builder = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
    };
    match (builder().build_v1(), builder().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => routes.add_service(v1).add_service(v1alpha),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "the descriptors are damaged, there is no reflection");
            routes
        }
    }
}
