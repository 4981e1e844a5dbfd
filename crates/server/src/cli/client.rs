//! A gateway as the client commands see it: its gRPC door.

use std::{future::Future, process::ExitCode};

use busgate_core::{Error, ErrorKind, Result};
use busgate_wire::{proto::event::v1::event_service_client::EventServiceClient, status};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use super::{FAILED, UNREACHABLE, args::Target, complain};
use crate::config::Environment;

/// Where a gateway is unless somebody says.
const DEFAULT_SERVER: &str = "http://127.0.0.1:9090";

/// A connection to a gateway.
pub(super) type Client = EventServiceClient<InterceptedService<Channel, Credentials>>;

/// The API key on each call.
#[derive(Clone, Debug)]
pub(super) struct Credentials(Option<MetadataValue<Ascii>>);

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(key) = &self.0 {
            request.metadata_mut().insert("authorization", key.clone());
        }
        Ok(request)
    }
}

/// Connects to the gateway that the flags name, else the environment.
pub(super) async fn connect(target: &Target, environment: &Environment) -> Result<Client> {
    let server =
        target.server.as_deref().or_else(|| environment.get("BUSGATE_SERVER")).unwrap_or(DEFAULT_SERVER);
    let server = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
    let refused = |what: &str| Error::invalid(format!("--server {server} {what}"));
    let endpoint = Endpoint::from_shared(server.clone())
        .map_err(|_| refused("is no address, like http://127.0.0.1:9090"))?;
    let channel = endpoint.connect().await.map_err(|error| {
        Error::unavailable(format!("can't reach a gateway at {server}")).with_source(error)
    })?;
    let credentials = credentials(target, environment)?;
    Ok(EventServiceClient::with_interceptor(channel, credentials).max_decoding_message_size(usize::MAX))
}

fn credentials(target: &Target, environment: &Environment) -> Result<Credentials> {
    let Some(key) = target.api_key.as_deref().or_else(|| environment.get("BUSGATE_API_KEY")) else {
        return Ok(Credentials(None));
    };
    let mut value: MetadataValue<Ascii> = format!("Bearer {key}")
        .parse()
        .map_err(|_| Error::invalid("--api-key must be visible ASCII characters"))?;
    value.set_sensitive(true);
    Ok(Credentials(Some(value)))
}

/// What a call answered, or the error that its status tells of.
pub(super) fn answer<T>(answered: Result<tonic::Response<T>, Status>) -> Result<T> {
    answered.map(tonic::Response::into_inner).map_err(|status| status::from_grpc(&status))
}

/// Runs a client command to its end.
pub(super) fn run(command: impl Future<Output = Result<ExitCode>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => Err(Error::internal("no runtime").with_source(error)),
    };
    ended.unwrap_or_else(|error| {
        complain(&format!("{}: {error}", error.kind()));
        ExitCode::from(if is_unreachable(&error) { UNREACHABLE } else { FAILED })
    })
}

/// Whether there was no gateway to answer at all.
fn is_unreachable(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<tonic::transport::Error>())
}

/// A local file or stream that failed.
pub(super) fn local(what: &str, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Invalid, format!("{what}: {error}")).with_source(error)
}

/// The two parts of `NAME=VALUE`.
pub(super) fn pair<'a>(flag: &str, text: &'a str) -> Result<(&'a str, &'a str)> {
    text.split_once('=').ok_or_else(|| Error::invalid(format!("{flag} {text} must be NAME=VALUE")))
}
