//! Groups on the server, and what becomes of an event whose data were lost.

use busgate_core::{Result, RetryPolicy};
use redis::Cmd;

use super::Node;
use crate::{
    error,
    reply::{Gone, Outcome, Reply},
    script,
    topic::{From, Topic},
};

/// A group that is there.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) life: u64,
    /// Whether it is new and begins after something that can't be had any more, and where that ended.
    pub(crate) lost: Option<Option<crate::id::EntryId>>,
}

impl Node {
    /// Makes sure of the group; as a consumer, `member` takes over.
    ///
    /// # Errors
    /// `not_found` when there is no such event.
    pub(crate) async fn join(
        &self,
        topic: &Topic,
        group: &str,
        keys: &[&str],
        from: &From,
        member: &str,
        policy: Option<&RetryPolicy>,
    ) -> Result<Joined> {
        let steps = |policy: &RetryPolicy| {
            let steps: Vec<_> = policy.backoff.iter().map(|step| step.as_millis().to_string()).collect();
            steps.join(",")
        };
        let steps = policy.map_or_else(|| "-".to_owned(), steps);
        let arguments = |command: &mut Cmd| {
            command.arg(topic.mapped_flag()).arg(self.default_age()).arg(group);
            from.write(command);
            command.arg(member).arg(&topic.keys.channel).arg(group).arg(&steps);
            command.arg(&self.name);
        };
        let value = self.link.run(script::JOIN.call(keys, arguments).replicated()).await?;
        match Reply::outcome("join", value)? {
            Outcome::Done(mut reply) => {
                let life = reply.life()?.ok_or_else(|| error::nonsense("join"))?;
                let (new, lost, cut) = (reply.flag()?, reply.flag()?, reply.text()?);
                Ok(Joined { life, lost: (new && lost).then(|| cut.parse().ok()) })
            }
            Outcome::Gone(_) => Err(error::not_registered(&topic.name)),
            Outcome::Other(..) => Err(error::nonsense("join")),
        }
    }

    /// How an event of this life goes on when the server does not know it: under another life, or (`None`) not at all.
    ///
    /// # Errors
    /// As [`Node::register`].
    pub(crate) async fn renew(&self, topic: &Topic, life: u64, gone: &Gone) -> Result<Option<u64>> {
        if gone.was_unregistered(life) {
            return Ok(None);
        }
        if gone.life.is_some() {
            return Ok(gone.life);
        }
        // A stream of somebody else's is not ours to make.
        let seen = topic.seen.lock().clone();
        let Some((_, config)) = seen.filter(|_| life != 0) else { return Ok(None) };
        tracing::warn!(event = %topic.name, "the server has lost its data: the event is registered anew");
        self.register(topic, &config).await.map(Some)
    }

    /// Keeps in mind what the event was registered with.
    ///
    /// # Errors
    /// As [`Self::registration`].
    pub(crate) async fn learn(&self, topic: &Topic) -> Result<()> {
        let registered = self.registration(topic).await?;
        *topic.seen.lock() = registered;
        Ok(())
    }

    /// How long an event holds its messages when it does not say so itself, in milliseconds; zero is for ever.
    pub(crate) fn default_age(&self) -> u64 {
        let age = self.config().defaults.retention_age.unwrap_or_default();
        u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
    }
}
