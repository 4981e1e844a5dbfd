//! What the scripts answer.

use busgate_core::{Message, Result};
use redis::Value;

use crate::{
    codec::{self, packed::Packed},
    error,
    id::EntryId,
};

/// The parts of an answer, taken one after the other.
#[derive(Debug)]
pub(crate) struct Reply {
    what: &'static str,
    parts: std::vec::IntoIter<Value>,
}

/// That there is no such event any more: which life it had, which it has now, and which was before that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) ended: Option<u64>,
    pub(crate) life: Option<u64>,
    pub(crate) after: Option<u64>,
}

impl Gone {
    /// Whether the event of this life was unregistered; else its data were lost.
    pub(crate) fn was_unregistered(&self, life: u64) -> bool {
        self.ended == Some(life) || self.after == Some(life)
    }
}

/// How a script ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// As asked.
    Done(Reply),
    /// There is no such event, or it is another one.
    Gone(Gone),
    /// As the script says.
    Other(String, Reply),
}

impl Reply {
    pub(crate) fn new(what: &'static str, value: Value) -> Result<Self> {
        match value {
            Value::Array(parts) => Ok(Self { what, parts: parts.into_iter() }),
            Value::Nil => Ok(Self { what, parts: Vec::new().into_iter() }),
            _ => Err(error::nonsense(what)),
        }
    }

    /// The outcome that the first part names.
    pub(crate) fn outcome(what: &'static str, value: Value) -> Result<Outcome> {
        let mut reply = Self::new(what, value)?;
        let status = reply.text()?;
        match status.as_str() {
            "ok" => Ok(Outcome::Done(reply)),
            "gone" => {
                Ok(Outcome::Gone(Gone { ended: reply.life()?, life: reply.life()?, after: reply.life()? }))
            }
            _ => Ok(Outcome::Other(status, reply)),
        }
    }

    pub(crate) fn value(&mut self) -> Result<Value> {
        self.parts.next().ok_or_else(|| error::nonsense(self.what))
    }

    pub(crate) fn text(&mut self) -> Result<String> {
        match self.value()? {
            Value::BulkString(bytes) => String::from_utf8(bytes).map_err(|_| error::nonsense(self.what)),
            Value::SimpleString(text) => Ok(text),
            Value::Okay => Ok("OK".into()),
            Value::Int(number) => Ok(number.to_string()),
            _ => Err(error::nonsense(self.what)),
        }
    }

    pub(crate) fn number(&mut self) -> Result<i64> {
        match self.value()? {
            Value::Int(number) => Ok(number),
            _ => Err(error::nonsense(self.what)),
        }
    }

    /// A number that is left out by being negative.
    pub(crate) fn count(&mut self) -> Result<Option<u64>> {
        Ok(u64::try_from(self.number()?).ok())
    }

    pub(crate) fn flag(&mut self) -> Result<bool> {
        Ok(self.number()? != 0)
    }

    /// A life of an event; empty when there is none.
    pub(crate) fn life(&mut self) -> Result<Option<u64>> {
        let text = self.text()?;
        if text.is_empty() {
            return Ok(None);
        }
        u64::from_str_radix(&text, 16).map(Some).map_err(|_| error::nonsense(self.what))
    }

    pub(crate) fn id(&mut self) -> Result<EntryId> {
        self.text()?.parse().map_err(|_| error::nonsense(self.what))
    }

    pub(crate) fn parts(&mut self) -> Result<Self> {
        let value = self.value()?;
        Self::new(self.what, value)
    }

    /// Entries of a stream, as values or packed.
    pub(crate) fn entries(&mut self) -> Result<Vec<(EntryId, Message)>> {
        match self.value()? {
            Value::BulkString(bytes) => {
                Packed::new(&bytes).entries().ok_or_else(|| error::nonsense(self.what))
            }
            value => Self::new(self.what, value)?.parts.map(entry).collect(),
        }
    }

    /// What is left, as texts.
    pub(crate) fn texts(mut self) -> Result<Vec<String>> {
        std::iter::from_fn(|| (self.len() > 0).then(|| self.text())).collect()
    }

    pub(crate) fn rest(self) -> Vec<Value> {
        self.parts.collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.parts.len()
    }
}

fn entry(value: Value) -> Result<(EntryId, Message)> {
    let mut parts = Reply::new("an entry", value)?;
    let id = parts.id()?;
    Ok((id, codec::read(id, parts.parts()?.rest())))
}
