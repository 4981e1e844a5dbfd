//! Health as found by doing: publish, deliver and ack on an event nobody else sees.

use std::sync::Arc;

use busgate_core::{
    Error, EventConfig, EventName, GroupName, Holder, Message, MessageId, Outcome, Result, RetryPolicy, Verb,
};

use crate::{crew::slot, registry::Registry};

impl Registry {
    /// Sends one message all the way.
    pub(crate) fn probe(&self) -> Result<()> {
        self.check_open()?;
        let topic = self.topic(&EventName::new("_probe")?, &EventConfig::default());
        let now = self.now();
        let sent = MessageId::generate();
        let batch = vec![Message::new(sent.clone(), "probe")];
        topic.publish(now, batch).pop().unwrap_or_else(|| Err(lost("a publish")))?;
        let mut guard = topic.lock(now.wall);
        let state = &mut *guard;
        let start = state.history.first();
        let index = state.crew_of(&Holder::Group(GroupName::default()), start, 1)?;
        let crew = state.crews.get_mut(index).ok_or_else(|| lost("a group"))?;
        let policy = Arc::new(RetryPolicy::default());
        let taken = crew.group.take(now, 1, &policy, |offset| slot(&state.history, offset));
        let taken = taken.filter(|taken| taken.message.id == sent).ok_or_else(|| lost("a message"))?;
        match crew.group.settle(now, taken.offset, taken.epoch, &Verb::Ack, 0.5) {
            Outcome::Acked => Ok(()),
            _ => Err(lost("an ack")),
        }
    }
}

fn lost(what: &str) -> Error {
    Error::internal(format!("the probe lost {what}"))
}
