//! `busgate serve`.

use std::{path::PathBuf, process::ExitCode};

use super::{BAD_CONFIGURATION, FAILED, UNREACHABLE, args::Serve, complain, descriptors, refuse};
use crate::{
    config::{Config, ConfigError, Environment, Sources},
    drain::{self, Signals},
    server::{Server, StartError},
    telemetry,
};

/// The variable that names the configuration file.
const FILE_VARIABLE: &str = "BUSGATE_CONFIG";

/// Serves until the process is told to end.
pub(super) fn run(serve: &Serve, environment: &Environment) -> ExitCode {
    if serve.demo {
        complain("demo = true (--demo) is not supported yet: start without it");
        return ExitCode::from(BAD_CONFIGURATION);
    }
    let config = match read(serve, environment) {
        Ok(config) => config,
        Err(errors) => return refuse(&errors),
    };
    telemetry::init(&config.log);
    for variable in Config::unknown_variables(environment) {
        tracing::warn!(variable, "an environment variable that is no key of the configuration");
    }
    descriptors::raise(config.bounds.max_connections);
    match runtime(config.threads).and_then(|runtime| runtime.block_on(serve_until_told(config))) {
        Ok(code) => code,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(FAILED)
        }
    }
}

fn read(serve: &Serve, environment: &Environment) -> Result<Config, Vec<ConfigError>> {
    let mut sources = Sources { environment: environment.clone(), flags: serve.flags(), ..Sources::none() };
    let file = serve.config.clone().or_else(|| environment.get(FILE_VARIABLE).map(PathBuf::from));
    if let Some(file) = file {
        let name = file.display().to_string();
        sources = sources.with_file(&file).map_err(|error| vec![ConfigError::file(&name, &error)])?;
    }
    Config::read(&sources)
}

/// What the server works on: so many threads, or one a core.
fn runtime(threads: Option<usize>) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads);
    }
    builder.enable_all().build()
}

async fn serve_until_told(config: Config) -> std::io::Result<ExitCode> {
    let (transport, open) = (config.transport.to_string(), config.keys.is_empty());
    let own_secret = config.transport.is_shared() && config.ack_secret.is_none();
    let mut signals = Signals::new()?;
    let started = tokio::select! {
        started = Server::builder().config(config).start() => started,
        () = signals.next() => {
            tracing::info!("told to end before it was ready");
            return Ok(ExitCode::SUCCESS);
        }
    };
    let server = match started {
        Ok(server) => server,
        Err(error) => {
            complain(&error.to_string());
            let unreachable = matches!(error, StartError::Transport(_));
            return Ok(ExitCode::from(if unreachable { UNREACHABLE } else { FAILED }));
        }
    };
    if open {
        tracing::warn!(
            "no API keys are configured: serving this machine only, and everyone on it may do everything"
        );
    }
    if own_secret {
        tracing::warn!(
            "no ack_secret is configured: other nodes on this transport can't settle what this one delivers"
        );
    }
    let addresses = server.addresses();
    let shown = |address: Option<std::net::SocketAddr>| address.map(tracing::field::display);
    tracing::info!(
        http = shown(addresses.http),
        grpc = shown(addresses.grpc),
        admin = shown(addresses.admin),
        transport,
        version = env!("CARGO_PKG_VERSION"),
        "ready"
    );
    Ok(drain::run(server, signals).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_works_with_as_many_threads_as_it_is_told() {
        for threads in [1, 3] {
            assert_eq!(runtime(Some(threads)).unwrap().metrics().num_workers(), threads);
        }
    }
}
