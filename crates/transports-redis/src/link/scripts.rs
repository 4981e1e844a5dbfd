//! Scripts, which a server may have to be sent first.

use busgate_core::{Effect, Error, Result};
use redis::{Cmd, Pipeline, RedisResult, ServerErrorKind, Value, aio::ConnectionLike};

use super::{Connection, Line, Link};
use crate::{error, script::Script};

/// How long a script's writes are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    Answered,
    /// As many replicas have them as the configuration asks for.
    Replicated,
}

impl Link {
    /// Has the server run a script. `arguments` adds what follows the keys.
    ///
    /// # Errors
    /// As [`Self::command`].
    pub(crate) async fn run(
        &self,
        script: &Script,
        keys: &[&str],
        arguments: impl Fn(&mut Cmd) + Send + Sync,
    ) -> Result<Value> {
        self.run_on(self.line().await?, script, keys, arguments).await
    }

    /// The same, on this line.
    ///
    /// # Errors
    /// As [`Self::command`].
    pub(crate) async fn run_on(
        &self,
        line: Line,
        script: &Script,
        keys: &[&str],
        arguments: impl Fn(&mut Cmd) + Send + Sync,
    ) -> Result<Value> {
        self.run_until(Until::Answered, line, script, keys, arguments).await
    }

    /// The same, and waits until as many replicas have it as the configuration asks for.
    ///
    /// # Errors
    /// As [`Self::command`], and `unavailable` when too few have it in time.
    pub(crate) async fn run_replicated(
        &self,
        script: &Script,
        keys: &[&str],
        arguments: impl Fn(&mut Cmd) + Send + Sync,
    ) -> Result<Value> {
        self.run_replicated_on(self.line().await?, script, keys, arguments).await
    }

    /// The same, on this line.
    ///
    /// # Errors
    /// As [`Self::run_replicated`].
    pub(crate) async fn run_replicated_on(
        &self,
        line: Line,
        script: &Script,
        keys: &[&str],
        arguments: impl Fn(&mut Cmd) + Send + Sync,
    ) -> Result<Value> {
        self.run_until(Until::Replicated, line, script, keys, arguments).await
    }

    /// Has the server run a script that it has, beside other calls on the same line; nothing when it does not have it.
    /// Whoever sent it only then would have it done after what was sent meanwhile.
    ///
    /// # Errors
    /// As [`Self::command`].
    pub(crate) async fn run_beside(
        &self,
        line: Line,
        script: &Script,
        keys: &[&str],
        arguments: impl Fn(&mut Cmd) + Send + Sync,
    ) -> Result<Option<Value>> {
        self.call(Until::Answered, line, ("EVALSHA", &script.hash), keys, &arguments).await
    }

    /// The same, and waits for replicas as [`Self::run_replicated`] does.
    ///
    /// # Errors
    /// As [`Self::run_replicated`].
    pub(crate) async fn run_replicated_beside(
        &self,
        line: Line,
        script: &Script,
        keys: &[&str],
        arguments: impl Fn(&mut Cmd) + Send + Sync,
    ) -> Result<Option<Value>> {
        self.call(Until::Replicated, line, ("EVALSHA", &script.hash), keys, &arguments).await
    }

    async fn run_until(
        &self,
        until: Until,
        line: Line,
        script: &Script,
        keys: &[&str],
        arguments: impl Fn(&mut Cmd) + Send + Sync,
    ) -> Result<Value> {
        let known = self.call(until, line.clone(), ("EVALSHA", &script.hash), keys, &arguments).await?;
        if let Some(value) = known {
            return Ok(value);
        }
        tracing::debug!(script = script.name, "redis is sent a script");
        let value = self.call(until, line, ("EVAL", script.text), keys, &arguments).await?;
        value.ok_or_else(|| error::nonsense(script.name))
    }

    /// One call; nothing when the server does not have the script.
    async fn call(
        &self,
        until: Until,
        line: Line,
        (verb, script): (&str, &str),
        keys: &[&str],
        arguments: &(impl Fn(&mut Cmd) + Send + Sync),
    ) -> Result<Option<Value>> {
        let mut command = redis::cmd(verb);
        command.arg(script).arg(keys.len()).arg(keys);
        arguments(&mut command);
        let answer = if until == Until::Answered || self.config.min_replicas == 0 {
            self.send_on(line, &command).await
        } else {
            self.send_and_wait(line, &command).await?
        };
        match answer {
            Err(error) if error.kind() == ServerErrorKind::NoScript.into() => Ok(None),
            answer => answer.map(Some).map_err(error::told),
        }
    }

    /// Sends a command and waits for replicas: one after the other on one connection, for only what was written before is
    /// waited for.
    async fn send_and_wait(&self, line: Line, command: &Cmd) -> Result<RedisResult<Value>> {
        let Line { number, connection } = line;
        let Connection::Server(mut connection) = connection else {
            return Err(Error::unsupported("min_replicas can't be had on a cluster"));
        };
        let patience = u64::try_from(self.config.min_replicas_timeout.as_millis()).unwrap_or(u64::MAX);
        let mut both = Pipeline::new();
        both.add_command(command.clone());
        both.cmd("WAIT").arg(self.config.min_replicas).arg(patience);
        let answer = connection.req_packed_commands(&both, 0, 2).await;
        let values = answer
            .and_then(|values| values.into_iter().map(Value::extract_error).collect::<RedisResult<Vec<_>>>());
        let mut values = match values {
            Ok(values) => values.into_iter(),
            Err(error) => {
                self.judge(number, &error);
                return Ok(Err(error));
            }
        };
        let (Some(value), Some(Value::Int(replicas))) = (values.next(), values.next()) else {
            return Err(error::nonsense("a script and WAIT"));
        };
        if replicas < i64::from(self.config.min_replicas) {
            let told = format!("{replicas} of {} replicas have it", self.config.min_replicas);
            return Err(error::unreachable(told).with_effect(Effect::Unknown));
        }
        Ok(Ok(value))
    }
}
