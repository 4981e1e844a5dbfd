//! Registering, listing and reading events.

use std::sync::Arc;

use super::{EventDetail, Gateway, History, HistoryRequest, Inner};
use crate::{
    Caller, Cursor, Effect, Envelope, Error, EventConfig, EventInfo, EventName, Operation, Pattern,
    ReadRequest, Result, Start,
};

/// The most messages one page of history may have.
pub const MAX_PAGE: usize = 10_000;

/// The most bytes of messages in one page of history.
pub const MAX_PAGE_BYTES: usize = 8 * 1024 * 1024;

impl Gateway {
    /// Makes an event known.
    ///
    /// # Errors
    /// `invalid` for the gateway's own names and for figures out of bounds, `denied`, `exists` with another
    /// configuration, and what the transport answers.
    pub async fn register(&self, caller: &Caller, event: &EventName, config: &EventConfig) -> Result<()> {
        let inner = &self.inner;
        inner.authorize_event(caller, Operation::Register, event).await?;
        refuse_own(event)?;
        config.validate()?;
        inner.refuse_if_draining()?;
        inner.register(event, config).await
    }

    /// Forgets an event and ends its subscriptions.
    ///
    /// # Errors
    /// `invalid` for the gateway's own names, `denied`, `not_found`, and what the transport answers.
    pub async fn unregister(&self, caller: &Caller, event: &EventName) -> Result<()> {
        let inner = &self.inner;
        inner.authorize_event(caller, Operation::Unregister, event).await?;
        refuse_own(event)?;
        inner.refuse_if_draining()?;
        inner.in_time(Effect::Unknown, inner.transport.unregister(event)).await?;
        inner.hub.forget(event);
        inner.registrations.send_modify(|count| *count += 1);
        Ok(())
    }

    /// The registered events that the caller may see, by name.
    ///
    /// # Errors
    /// What the transport answers.
    pub async fn events(&self, caller: &Caller) -> Result<Vec<EventInfo>> {
        let inner = &self.inner;
        let mut events = inner.in_time(Effect::None, inner.transport.events()).await?;
        let mut visible = Vec::with_capacity(events.len());
        events.sort_by(|a, b| a.name.cmp(&b.name));
        events.retain(|info| !info.name.is_hidden());
        for info in events {
            if inner.authorize_event(caller, Operation::List, &info.name).await.is_ok() {
                visible.push(info);
            }
        }
        Ok(visible)
    }

    /// Everything known of one event.
    ///
    /// # Errors
    /// `denied`, `not_found`, and what the transport answers.
    pub async fn describe(&self, caller: &Caller, event: &EventName) -> Result<EventDetail> {
        let inner = &self.inner;
        inner.authorize_event(caller, Operation::List, event).await?;
        refuse_hidden(event)?;
        let events = inner.in_time(Effect::None, inner.transport.events()).await?;
        let info =
            events.into_iter().find(|info| info.name == *event).ok_or_else(|| not_registered(event))?;
        let consumers = inner.in_time(Effect::None, inner.transport.lag(event)).await?;
        Ok(EventDetail { info, capabilities: inner.capabilities, consumers })
    }

    /// One page of an event's history.
    ///
    /// # Errors
    /// `denied`, `not_found`, `invalid` for a limit out of bounds or a foreign cursor, `unsupported` without `replay`.
    pub async fn history(
        &self,
        caller: &Caller,
        event: &EventName,
        request: HistoryRequest,
    ) -> Result<History> {
        let inner = &self.inner;
        inner.authorize_event(caller, Operation::Subscribe, event).await?;
        refuse_hidden(event)?;
        inner.check_start(&request.start)?;
        inner.check_history()?;
        if request.limit == 0 || request.limit > MAX_PAGE {
            return Err(Error::invalid(format!("limit must be 1 to {MAX_PAGE}")));
        }
        let max_bytes = request.max_bytes.map_or(MAX_PAGE_BYTES, |bytes| bytes.min(MAX_PAGE_BYTES));
        let read = ReadRequest { start: request.start, limit: request.limit, max_bytes };
        let page = inner.in_time(Effect::None, inner.transport.read(event, read)).await?;
        let envelope = |(cursor, message)| Arc::new(Envelope::new(event.clone(), message, cursor));
        let messages = page.messages.into_iter().map(envelope).collect();
        Ok(History { gap: page.gap, messages, next: page.next, end: page.end })
    }

    /// The message of an event whose own place `place` is, if it is held. Whoever may read the event may look it up.
    ///
    /// # Errors
    /// `denied`, `not_found` for the event, `invalid` for a foreign cursor, `unsupported` without `replay`.
    pub async fn find(
        &self,
        caller: &Caller,
        event: &EventName,
        place: &Cursor,
    ) -> Result<Option<Arc<Envelope>>> {
        let inner = &self.inner;
        inner.authorize_event(caller, Operation::Subscribe, event).await?;
        inner.check_history()?;
        let found = inner.in_time(Effect::None, inner.transport.find(event, place)).await?;
        Ok(found.map(|message| Arc::new(Envelope::new(event.clone(), message, place.clone()))))
    }
}

impl Inner {
    pub(super) async fn register(&self, event: &EventName, config: &EventConfig) -> Result<()> {
        self.in_time(Effect::Unknown, self.transport.register(event, config)).await?;
        self.registrations.send_modify(|count| *count += 1);
        Ok(())
    }

    /// The registered events that a pattern stands for.
    pub(super) async fn matching(&self, pattern: &Pattern) -> Result<Vec<EventName>> {
        let events = self.in_time(Effect::None, self.transport.events()).await?;
        Ok(events.into_iter().map(|info| info.name).filter(|name| pattern.matches(name)).collect())
    }

    fn check_history(&self) -> Result<()> {
        if self.capabilities.replay {
            return Ok(());
        }
        Err(Error::unsupported("this transport keeps no history"))
    }

    pub(super) fn check_start(&self, start: &Start) -> Result<()> {
        let capabilities = &self.capabilities;
        match start {
            Start::At(_) if !capabilities.replay_from_time => {
                Err(Error::unsupported("this transport cannot start from a time"))
            }
            Start::Beginning | Start::After(_) if !capabilities.replay => {
                Err(Error::unsupported("this transport keeps no history to start from"))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn refuse_own(event: &EventName) -> Result<()> {
    if event.is_own() {
        return Err(Error::invalid(format!(
            "event `{event}`: names that start with `_` are the gateway's own"
        )));
    }
    Ok(())
}

/// Clients see nothing of what nodes keep for themselves, as if it were not there.
pub(super) fn refuse_hidden(event: &EventName) -> Result<()> {
    if event.is_hidden() { Err(not_registered(event)) } else { Ok(()) }
}

fn not_registered(event: &EventName) -> Error {
    Error::not_found(format!("event `{event}` is not registered"))
}
