//! `busgate pub`.

use std::{
    fs,
    io::{Read, stdin},
    process::ExitCode,
};

use busgate_core::{Draft, EventConfig, EventName, MessageId, Metadata, Result};
use busgate_wire::{convert, json};
use bytes::Bytes;

use super::{
    args::Publish,
    client::{answer, connect, local, pair},
    say,
};
use crate::config::Environment;

/// Publishes one message, and says where it went.
pub(super) async fn run(publish: Publish, environment: &Environment) -> Result<ExitCode> {
    let event = EventName::new(&publish.event)?;
    let mut client = connect(&publish.target, environment).await?;
    if publish.register {
        answer(client.register_event(convert::register_request(&event, &EventConfig::default())).await)?;
    }
    let request = convert::publish_request(&event, draft(publish)?);
    let receipt = convert::read_published(&answer(client.publish(request).await)?)?;
    Ok(say(&format!("{}\n", String::from_utf8_lossy(&json::to_bytes(&json::publish_answer(&receipt))))))
}

fn draft(publish: Publish) -> Result<Draft> {
    let payload = payload(&publish)?;
    let mut metadata = Metadata::new();
    for text in &publish.meta {
        let (name, value) = pair("--meta", text)?;
        metadata.insert(name.to_owned(), value.to_owned());
    }
    Ok(Draft {
        id: publish.id.map(MessageId::new).transpose()?,
        payload,
        metadata,
        key: publish.key,
        content_type: publish.content_type,
        source: None,
    })
}

fn payload(publish: &Publish) -> Result<Bytes> {
    if let Some(file) = &publish.file {
        return Ok(fs::read(file).map_err(|error| local(&file.display().to_string(), error))?.into());
    }
    let written = publish.payload.as_ref().filter(|text| *text != "-");
    if let Some(text) = publish.data.as_ref().or(written) {
        return Ok(text.clone().into());
    }
    let mut bytes = Vec::new();
    stdin().read_to_end(&mut bytes).map_err(|error| local("stdin", error))?;
    Ok(bytes.into())
}
