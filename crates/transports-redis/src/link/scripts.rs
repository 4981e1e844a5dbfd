//! Scripts, which a server may have to be sent first.

use busgate_core::{Effect, Error, Result};
use redis::{Cmd, Pipeline, RedisResult, ServerErrorKind, Value, aio::ConnectionLike};

use super::{Connection, Line, Link};
use crate::{error, script::Script};

/// A script to be run.
#[derive(Debug)]
pub(crate) struct Call<'a, A> {
    script: &'a Script,
    keys: &'a [&'a str],
    arguments: A,
    replicated: bool,
}

impl Script {
    /// A call of this script over these keys. `arguments` adds what follows the keys.
    pub(crate) fn call<'a, A: Fn(&mut Cmd) + Send + Sync>(
        &'a self,
        keys: &'a [&'a str],
        arguments: A,
    ) -> Call<'a, A> {
        Call { script: self, keys, arguments, replicated: false }
    }
}

impl<A: Fn(&mut Cmd) + Send + Sync> Call<'_, A> {
    /// The same call, which is done only when as many replicas have it as the configuration asks for.
    pub(crate) fn replicated(self) -> Self {
        Self { replicated: true, ..self }
    }

    fn command(&self, verb: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(verb);
        command.arg(script).arg(self.keys.len()).arg(self.keys);
        (self.arguments)(&mut command);
        command
    }
}

impl Link {
    /// Has the server run a script.
    ///
    /// # Errors
    /// As [`Self::command`], and `unavailable` when too few replicas have it in time.
    pub(crate) async fn run(&self, call: Call<'_, impl Fn(&mut Cmd) + Send + Sync>) -> Result<Value> {
        self.run_on(self.line().await?, call).await
    }

    /// The same, on this line.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) async fn run_on(
        &self,
        line: Line,
        call: Call<'_, impl Fn(&mut Cmd) + Send + Sync>,
    ) -> Result<Value> {
        let known =
            self.tell(line.clone(), call.replicated, call.command("EVALSHA", &call.script.hash)).await?;
        if let Some(value) = known {
            return Ok(value);
        }
        tracing::debug!(script = call.script.name, "redis is sent a script");
        let value = self.tell(line, call.replicated, call.command("EVAL", call.script.text)).await?;
        value.ok_or_else(|| error::nonsense(call.script.name))
    }

    /// Has the server run a script that it has, beside other calls on the same line; nothing when it does not have it.
    /// Whoever sent it only then would have it done after what was sent meanwhile.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) async fn run_beside(
        &self,
        line: Line,
        call: Call<'_, impl Fn(&mut Cmd) + Send + Sync>,
    ) -> Result<Option<Value>> {
        self.tell(line, call.replicated, call.command("EVALSHA", &call.script.hash)).await
    }

    /// Sends a call; nothing when the server does not have the script.
    async fn tell(&self, line: Line, replicated: bool, command: Cmd) -> Result<Option<Value>> {
        let answer = if replicated && self.config.min_replicas > 0 {
            self.send_and_wait(line, &command).await?
        } else {
            self.send_on(line, &command).await
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
