//! The connection all calls of a node share, and who keeps it.

mod scripts;
mod server;

use std::{fmt, sync::Arc, time::Duration};

use busgate_core::{Effect, ErrorKind, Result};
use redis::{Cmd, RedisError, RedisResult, Value, aio::ConnectionLike};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

pub(crate) use self::server::clients;
use self::server::{Connection, connect};
use crate::{
    config::{RedisConfig, Topology},
    error::{self, Trouble},
};

/// How long a call waits for a connection that is being made.
const PATIENCE: Duration = Duration::from_secs(2);

/// The pauses between attempts to connect: the shortest, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The connection of a node.
pub(crate) struct Link {
    pub(crate) config: Arc<RedisConfig>,
    state: watch::Sender<State>,
}

/// A connection to make a call on. Calls on one line are done in the order in which they were first polled.
#[derive(Clone)]
pub(crate) struct Line {
    /// Which connection it is: another number is another connection.
    pub(crate) number: u64,
    connection: Connection,
}

#[derive(Clone, Default)]
struct State {
    connection: Option<Connection>,
    /// Which connection it is, counted from 1.
    number: u64,
    closed: bool,
}

impl Link {
    /// Connects for the first time.
    ///
    /// # Errors
    /// When that can't be done in time.
    pub(crate) async fn open(config: Arc<RedisConfig>) -> Result<Self> {
        let connection = Some(attempt(&config).await?);
        let state = watch::Sender::new(State { connection, number: 1, closed: false });
        Ok(Self { config, state })
    }

    /// Connects again whenever the connection is lost, until the link is closed.
    pub(crate) async fn keep(&self) {
        let mut state = self.state.subscribe();
        loop {
            let lost = state.wait_for(|state| state.closed || state.connection.is_none()).await;
            if lost.is_ok_and(|state| state.closed) {
                return;
            }
            tracing::warn!(server = %self.config, "the connection to redis was lost");
            let connection = self.persist().await;
            tracing::info!(server = %self.config, "connected to redis again");
            self.state.send_modify(|state| {
                state.number += 1;
                state.connection = Some(connection).filter(|_| !state.closed);
            });
        }
    }

    async fn persist(&self) -> Connection {
        let mut pause = PAUSES.0;
        loop {
            match attempt(&self.config).await {
                Ok(connection) => return connection,
                Err(error) => tracing::debug!(%error, server = %self.config, "can't connect to redis"),
            }
            sleep(pause.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Which connection it is; another number is another connection.
    pub(crate) fn number(&self) -> u64 {
        self.state.borrow().number
    }

    /// Resolves once there is another connection than this one.
    pub(crate) async fn after(&self, number: u64) {
        let _ = self.state.subscribe().wait_for(|state| state.number > number || state.closed).await;
    }

    /// Whether it is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.borrow().closed
    }

    /// Lets go of the connection for good.
    pub(crate) fn close(&self) {
        self.state
            .send_modify(|state| *state = State { connection: None, number: state.number, closed: true });
    }

    /// The line there is right now, to make a call beside others whose order matters. The driver of a cluster keeps none.
    pub(crate) fn line_now(&self) -> Option<Line> {
        if self.config.topology == Topology::Cluster {
            return None;
        }
        let state = self.state.borrow();
        Some(Line { number: state.number, connection: state.connection.clone()? })
    }

    /// A line, which it waits for if the connection is being made.
    ///
    /// # Errors
    /// `unavailable` when that takes too long.
    pub(crate) async fn line(&self) -> Result<Line> {
        let ready = |state: &State| state.closed || state.connection.is_some();
        let found = |state: &State| match &state.connection {
            _ if state.closed => Err(error::closed()),
            Some(connection) => Ok(Line { number: state.number, connection: connection.clone() }),
            None => Err(error::unreachable("redis can't be reached")),
        };
        {
            let state = self.state.borrow();
            if ready(&state) {
                return found(&state);
            }
        }
        let mut state = self.state.subscribe();
        let waited = timeout(PATIENCE.min(self.config.timeout), state.wait_for(ready)).await;
        match waited {
            Ok(Ok(state)) => found(&state),
            Ok(Err(_)) => Err(error::closed()),
            Err(_) => Err(error::unreachable("redis can't be reached")),
        }
    }

    /// Takes note of what an error says of the connection.
    fn judge(&self, number: u64, error: &RedisError) {
        let cluster = self.config.topology == Topology::Cluster;
        let useless = match error::trouble(error) {
            // The driver of a cluster connects to its nodes again by itself.
            Trouble::Broken => !cluster || error.kind() == redis::ErrorKind::ClusterConnectionNotFound,
            Trouble::Unfit => !cluster,
            Trouble::Refused => false,
        };
        if useless {
            self.state.send_if_modified(|state| {
                state.number == number && !state.closed && state.connection.take().is_some()
            });
        }
    }

    async fn send(&self, command: &Cmd) -> Result<RedisResult<Value>> {
        let line = self.line().await?;
        Ok(self.send_on(line, command).await)
    }

    async fn send_on(&self, mut line: Line, command: &Cmd) -> RedisResult<Value> {
        let answer = match &mut line.connection {
            Connection::Server(connection) => connection.req_packed_command(command).await,
            Connection::Cluster(connection) => connection.req_packed_command(command).await,
        };
        let answer = answer.and_then(Value::extract_error);
        if let Err(error) = &answer {
            self.judge(line.number, error);
        }
        answer
    }

    /// Has the server do a command.
    ///
    /// # Errors
    /// What the server refuses, and that it can't be reached or does not answer.
    pub(crate) async fn command(&self, command: &Cmd) -> Result<Value> {
        self.send(command).await?.map_err(error::told)
    }
}

/// Nothing was asked for yet, so nothing has happened, whatever goes wrong.
async fn attempt(config: &RedisConfig) -> Result<Connection> {
    let late = || error::unreachable(format!("no connection to {config} in time"));
    let connected = timeout(config.connect_timeout, connect(config)).await.unwrap_or_else(|_| Err(late()));
    connected.map_err(|error| match error.kind() {
        ErrorKind::Timeout => late(),
        ErrorKind::Unavailable => error::unconnected(config, error),
        _ => error.with_effect(Effect::None),
    })
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("server", &self.config.to_string()).finish_non_exhaustive()
    }
}
