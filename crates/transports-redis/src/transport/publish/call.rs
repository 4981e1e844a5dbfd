//! The call that adds a batch, and what comes of it.

use std::collections::HashSet;

use busgate_core::{Message, Receipt, Result};
use redis::Cmd;

use crate::{
    codec::{
        self,
        remembered::{self, Remembered},
    },
    crew::{AHEAD, Room},
    error,
    id::EntryId,
    lease,
    link::Line,
    node::Node,
    reply::{Gone, Outcome, Reply},
    script,
    topic::Topic,
};

/// What came of a batch.
pub(super) enum Answer {
    Added(Box<Added>),
    Gone(Gone),
    /// The server does not have the script, and nothing was done.
    NoScript,
}

type Receipts = Vec<Result<Receipt>>;

type Places = Vec<Option<EntryId>>;

/// What was added.
pub(super) struct Added {
    pub(super) receipts: Receipts,
    /// Where each message is that was added; nothing for a duplicate.
    pub(super) places: Places,
    /// Where there was room for them, and the epoch under which they were taken there.
    pub(super) taken: Option<(Room, u64)>,
    /// The connection.
    pub(super) number: u64,
    /// Whether whoever waits for messages here was told ahead.
    pub(super) rung: bool,
}

/// What a batch goes out on, beside others, and where there is room for it.
pub(super) type Way = (Line, Option<Room>);

/// Has the server add a batch.
///
/// # Errors
/// As [`Link::run`](crate::link::Link::run).
pub(super) async fn publish(
    node: &Node,
    topic: &Topic,
    messages: &[&Message],
    way: Option<Way>,
) -> Result<Answer> {
    let rung = way.is_some();
    let (line, room) = way.map_or((None, None), |(line, room)| (Some(line), room));
    let keys = &topic.keys;
    let [ids, earlier] = &keys.ids;
    let mut names = vec![keys.stream.as_str(), &keys.record, ids, earlier, &keys.marks];
    names.extend(room.iter().flat_map(|room| &room.crew.keys).map(String::as_str));
    let nonce = lease::nonce();
    let arguments = |command: &mut Cmd| write(command, node, topic, messages, room.as_ref(), nonce);
    let call = script::PUBLISH.call(&names, arguments).replicated();
    let number;
    let value = match line {
        Some(line) => {
            number = line.number;
            node.link.run_beside(line, call).await?
        }
        None => {
            let line = node.link.line().await?;
            number = line.number;
            Some(node.link.run_on(line, call).await?)
        }
    };
    let Some(value) = value else { return Ok(Answer::NoScript) };
    let mut reply = match Reply::outcome("publish", value)? {
        Outcome::Done(reply) => reply,
        Outcome::Gone(gone) => return Ok(Answer::Gone(gone)),
        Outcome::Other(..) => return Err(error::nonsense("publish")),
    };
    let life = reply.life()?.ok_or_else(|| error::nonsense("publish"))?;
    let (receipts, places) = receipts(topic, life, messages, &reply.text()?)?;
    let turn = reply.count()?.filter(|turn| *turn > 0);
    let taken = room.zip(turn).map(|(room, turn)| (room, lease::epoch(turn, nonce)));
    Ok(Answer::Added(Box::new(Added { receipts, places, taken, number, rung })))
}

/// What the places of a batch, as the script tells them, say: the receipts, and where each message is that was added.
fn receipts(topic: &Topic, life: u64, messages: &[&Message], told: &str) -> Result<(Receipts, Places)> {
    let (mut receipts, mut places) = (Vec::with_capacity(messages.len()), Vec::with_capacity(messages.len()));
    for (message, place) in messages.iter().zip(told.split(' ')) {
        let first = place.strip_prefix('=');
        let id = first.unwrap_or(place).parse().map_err(|_| error::nonsense("publish"))?;
        places.push(first.is_none().then_some(id));
        let cursor = Some(topic.cursor(life, id)?);
        receipts.push(Ok(Receipt { id: message.id.clone(), cursor, duplicate: first.is_some() }));
    }
    if receipts.len() != messages.len() {
        return Err(error::nonsense("publish"));
    }
    Ok((receipts, places))
}

/// Adds what the script is told.
fn write(
    command: &mut Cmd,
    node: &Node,
    topic: &Topic,
    messages: &[&Message],
    room: Option<&Room>,
    nonce: u32,
) {
    let defaults = &node.config().defaults;
    command.arg(topic.mapped_flag()).arg(&topic.keys.channel);
    command.arg(defaults.dedup_window.unwrap_or_default().as_millis()).arg(node.default_age());
    command.arg(defaults.retention_bytes.unwrap_or(0)).arg(defaults.retention_messages.unwrap_or(0));
    command.arg(node.config().max_ids).arg(&node.name).arg(messages.len());
    let ids: HashSet<_> = messages.iter().map(|message| &message.id).collect();
    command.arg(u8::from(ids.len() < messages.len()));
    let ids: Vec<_> = messages.iter().map(|message| Remembered::new(message.id.as_str())).collect();
    let (first, last) = remembered::made(&ids);
    command.arg(first).arg(last);
    let (group, life) = room.map_or(("", 0), |room| (&room.crew.group, room.plan.life));
    command.arg(group).arg(format!("{life:x}")).arg(nonce).arg(AHEAD.as_millis()).arg(ids);
    codec::write(messages, command);
}
