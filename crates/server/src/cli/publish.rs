//! `busgate pub`.

use std::{
    fs,
    io::{Read, stdin},
    process::ExitCode,
};

use busgate_core::{Error, EventConfig, EventName, Message, MessageId, Metadata, Result, Transport};
use busgate_wire::json;
use bytes::Bytes;

use super::{
    args::Publish,
    client::{connect, local, pair},
    say,
};
use crate::config::Environment;

/// Publishes one message, and says where it went.
pub(super) async fn run(publish: Publish, environment: &Environment) -> Result<ExitCode> {
    let event = EventName::new(&publish.event)?;
    let client = connect(&publish.target, environment).await?;
    if publish.register {
        client.register(&event, &EventConfig::default()).await?;
    }
    let answer = client.publish(&event, vec![message(publish)?]).await.pop();
    let receipt = answer.unwrap_or_else(|| Err(Error::internal("the gateway gave no answer")))?;
    Ok(say(&format!("{}\n", String::from_utf8_lossy(&json::to_bytes(&json::publish_answer(&receipt))))))
}

fn message(publish: Publish) -> Result<Message> {
    let payload = payload(&publish)?;
    let mut metadata = Metadata::new();
    for text in &publish.meta {
        let (name, value) = pair("--meta", text)?;
        metadata.insert(name.to_owned(), value.to_owned());
    }
    let id = publish.id.map_or_else(|| Ok(MessageId::generate()), MessageId::new)?;
    Ok(Message {
        metadata,
        key: publish.key,
        content_type: publish.content_type,
        ..Message::new(id, payload)
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
