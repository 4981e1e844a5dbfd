//! Takes in what is pending and nobody of us knows: left by a client of its own that is gone, or by a server that lost the keys
//! beside the stream.

use std::{sync::Arc, time::Duration};

use busgate_core::Result;
use redis::Cmd;
use tokio::time::sleep;

use super::{AHEAD, Crew};
use crate::{
    error,
    node::Node,
    reply::{Outcome, Reply},
    script,
};

/// How often it is looked for at most, and at least.
const ROUNDS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// How many entries are looked at in one call.
const PAGE: usize = 200;

/// Looks for it now and then, for ever.
pub(super) async fn run(node: Arc<Node>, crew: Arc<Crew>) {
    // The first round is soon, so that what was left is not left for long.
    let round = (node.config().reclaim_after / 4).clamp(ROUNDS.0, ROUNDS.1);
    let mut pause = round.mul_f64(0.125 + fastrand::f64() / 4.0);
    loop {
        sleep(pause).await;
        pause = round.mul_f64(0.5 + fastrand::f64());
        match crew.reclaim(&node).await {
            Ok(0) => {}
            Ok(count) => {
                tracing::info!(event = %crew.topic.name, group = crew.group, count, "took over pending messages");
                crew.ring();
            }
            Err(error) => tracing::debug!(%error, group = crew.group, "can't look for pending messages"),
        }
    }
}

impl Crew {
    /// Answers how many were taken in.
    async fn reclaim(&self, node: &Node) -> Result<u64> {
        let life = format!("{:x}", self.state.lock().life);
        let idle = node.config().reclaim_after.as_millis();
        let (mut from, mut count) = ("-".to_owned(), 0);
        loop {
            let arguments = |command: &mut Cmd| {
                command
                    .arg(self.topic.mapped_flag())
                    .arg(&life)
                    .arg(&self.group)
                    .arg(idle)
                    .arg(&from)
                    .arg(PAGE);
                command.arg(&self.topic.keys.channel).arg(&self.group).arg(AHEAD.as_millis());
            };
            let value = node.link.run(script::RECLAIM.call(&self.all_keys(), arguments)).await?;
            let mut reply = match Reply::outcome("reclaim", value)? {
                Outcome::Done(reply) => reply,
                // Whoever takes messages finds out what became of it.
                Outcome::Gone(_) => return Ok(count),
                Outcome::Other(..) => return Err(error::nonsense("reclaim")),
            };
            count += reply.count()?.unwrap_or(0);
            let last = reply.text()?;
            if last.is_empty() {
                return Ok(count);
            }
            from = format!("({last}");
        }
    }
}
