//! What the headers of a publish say of its message, beside the body.

use busgate_core::{Draft, Error, MessageId, Result};
use busgate_wire::json::JSON;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

const META_PREFIX: &str = "x-meta-";

/// What the headers say of a message, found in one pass.
pub(super) struct Said<'a> {
    headers: &'a HeaderMap,
    content_type: Option<&'a HeaderValue>,
    source: Option<&'a HeaderValue>,
    id: Option<&'a HeaderValue>,
    key: Option<&'a HeaderValue>,
    /// W3C trace context travels from publisher to consumer as metadata.
    trace: [Option<(&'static str, &'a HeaderValue)>; 2],
    /// Whether there is metadata.
    meta: bool,
}

impl<'a> Said<'a> {
    pub(super) fn read(headers: &'a HeaderMap) -> Self {
        let mut said = Self {
            headers,
            content_type: None,
            source: None,
            id: None,
            key: None,
            trace: [None; 2],
            meta: false,
        };
        let [parent, state] = &mut said.trace;
        for (name, value) in headers {
            match name.as_str() {
                "content-type" => said.content_type = Some(value),
                "x-source" => said.source = Some(value),
                "x-message-id" => said.id = Some(value).filter(|value| !value.is_empty()),
                "x-message-key" => said.key = Some(value).filter(|value| !value.is_empty()),
                "traceparent" => *parent = Some(("traceparent", value)),
                "tracestate" => *state = Some(("tracestate", value)),
                other => said.meta |= other.starts_with(META_PREFIX),
            }
        }
        said
    }

    /// The content type without its parameters.
    pub(super) fn essence(&self) -> Option<&'a str> {
        let content_type = self.content_type?.to_str().ok()?;
        Some(content_type.split(';').next().unwrap_or_default().trim())
    }

    /// Whether the body is a JSON description.
    pub(super) fn is_json(&self) -> bool {
        self.essence().is_some_and(|essence| essence.eq_ignore_ascii_case(JSON))
    }

    /// Refuses what can be said of one message only.
    pub(super) fn refuse_of_one(&self) -> Result<()> {
        if self.id.is_some() || self.key.is_some() {
            return Err(Error::invalid("x-message-id and x-message-key are for a publish of one message"));
        }
        Ok(())
    }

    /// The message whose payload is the body itself.
    pub(super) fn as_it_is(&self, payload: Bytes) -> Result<Draft> {
        let content_type = self.content_type.map(|kind| text("content-type", kind)).transpose()?;
        Ok(Draft { payload, content_type: content_type.map(ToOwned::to_owned), ..Draft::default() })
    }

    /// Adds to a message what the headers say of it. What the body says as well must be the same.
    pub(super) fn complete(&self, draft: &mut Draft) -> Result<()> {
        if let Some(id) = self.id {
            let id = MessageId::new(text("x-message-id", id)?)?;
            agree("x-message-id", draft.id.get_or_insert_with(|| id.clone()) == &id)?;
        }
        if let Some(key) = self.key {
            let key = text("x-message-key", key)?;
            agree("x-message-key", draft.key.get_or_insert_with(|| key.to_owned()) == key)?;
        }
        if let Some(source) = self.source {
            draft.source = Some(text("x-source", source)?.to_owned());
        }
        if self.meta {
            self.complete_metadata(draft)?;
        }
        for (name, value) in self.trace.into_iter().flatten() {
            if !draft.metadata.contains_key(name) {
                draft.metadata.insert(name.to_owned(), text(name, value)?.to_owned());
            }
        }
        Ok(())
    }

    fn complete_metadata(&self, draft: &mut Draft) -> Result<()> {
        for name in self.headers.keys() {
            let Some(key) = name.as_str().strip_prefix(META_PREFIX) else { continue };
            let mut values = self.headers.get_all(name).iter();
            let (Some(value), None) = (values.next(), values.next()) else {
                return Err(Error::invalid(format!("header {name} stands twice")));
            };
            let value = text(name.as_str(), value)?;
            agree(
                name.as_str(),
                draft.metadata.entry(key.to_owned()).or_insert_with(|| value.to_owned()) == value,
            )?;
        }
        Ok(())
    }
}

fn agree(header: &str, same: bool) -> Result<()> {
    if same {
        Ok(())
    } else {
        Err(Error::invalid(format!("header {header} and the body say different things")))
    }
}

fn text<'a>(name: &str, value: &'a HeaderValue) -> Result<&'a str> {
    std::str::from_utf8(value.as_bytes()).map_err(|_| Error::invalid(format!("header {name} is not UTF-8")))
}
