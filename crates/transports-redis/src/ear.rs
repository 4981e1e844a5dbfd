//! Hears what other nodes publish, settle and end: one connection per node, which listens to the channels of those events
//! that somebody here waits for. What it does not hear is found by looking now and then.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
    time::Duration,
};

use busgate_core::Result;
use futures_util::StreamExt;
use parking_lot::Mutex;
use redis::{
    Msg,
    aio::{PubSubSink, PubSubStream},
};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use crate::{error, link, node::Node, topic::Topic};

/// How often the connection is tried when nothing is heard.
const PROBE: Duration = Duration::from_secs(5);

/// How long it is left alone after it could not be made.
const PAUSE: Duration = Duration::from_millis(500);

/// What a node listens to.
#[derive(Debug, Default)]
pub(crate) struct Ear {
    channels: Mutex<HashMap<String, Listened>>,
    changed: Notify,
}

#[derive(Debug)]
struct Listened {
    topic: Weak<Topic>,
    listeners: usize,
}

/// That somebody waits for what happens to an event; dropping it ends that.
#[derive(Debug)]
pub(crate) struct Listening {
    node: Arc<Node>,
    topic: Arc<Topic>,
}

impl Listening {
    pub(crate) fn new(node: &Arc<Node>, topic: &Arc<Topic>) -> Self {
        let mut channels = node.ear.channels.lock();
        let new = || Listened { topic: Arc::downgrade(topic), listeners: 0 };
        let listened = channels.entry(topic.keys.channel.clone()).or_insert_with(new);
        listened.listeners += 1;
        let first = listened.listeners == 1;
        drop(channels);
        if first {
            node.ear.changed.notify_one();
        }
        Self { node: Arc::clone(node), topic: Arc::clone(topic) }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut channels = self.node.ear.channels.lock();
        let Some(listened) = channels.get_mut(&self.topic.keys.channel) else { return };
        listened.listeners -= 1;
        if listened.listeners == 0 {
            channels.remove(&self.topic.keys.channel);
            drop(channels);
            self.node.ear.changed.notify_one();
        }
    }
}

/// Listens until the node is closed.
pub(crate) async fn run(node: Arc<Node>) {
    while !node.link.is_closed() {
        if node.ear.channels.lock().is_empty() {
            node.ear.changed.notified().await;
            continue;
        }
        match connect(&node).await {
            Ok((sink, stream)) => listen(&node, sink, stream).await,
            Err(error) => tracing::debug!(%error, "can't listen to redis"),
        }
        sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await;
    }
}

async fn connect(node: &Node) -> Result<(PubSubSink, PubSubStream)> {
    let connect = async {
        let mut last = None;
        for client in link::clients(node.config()).await? {
            match client.get_async_pubsub().await {
                Ok(connection) => return Ok(connection.split()),
                Err(error) => last = Some(error::told(error)),
            }
        }
        Err(last.unwrap_or_else(|| error::unreachable("no redis server is known")))
    };
    let late = |_| error::unreachable("redis does not answer");
    timeout(node.config().connect_timeout, connect).await.map_err(late)?
}

async fn listen(node: &Node, mut sink: PubSubSink, mut stream: PubSubStream) {
    let mut heard = HashSet::new();
    let number = node.link.number();
    loop {
        if adjust(node, &mut sink, &mut heard).await.is_err() {
            return;
        }
        tokio::select! {
            message = stream.next() => match message {
                Some(message) => hear(node, &message),
                None => return,
            },
            () = node.ear.changed.notified() => {}
            // Another server may be the one to listen to now.
            () = node.link.after(number) => return,
            () = sleep(PROBE) => {
                let probe = timeout(node.config().timeout, sink.ping::<redis::Value>());
                if !probe.await.is_ok_and(|answer| answer.is_ok()) {
                    return;
                }
            }
        }
    }
}

/// Listens to what is wanted, and no more to what is not.
async fn adjust(node: &Node, sink: &mut PubSubSink, heard: &mut HashSet<String>) -> redis::RedisResult<()> {
    let wanted: HashSet<_> = node.ear.channels.lock().keys().cloned().collect();
    let late = |_| redis::RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
    let patience = node.config().timeout;
    let more: Vec<_> = wanted.difference(heard).cloned().collect();
    if !more.is_empty() {
        timeout(patience, sink.subscribe(&more)).await.map_err(late)??;
        // Something may have happened before anyone listened.
        for channel in &more {
            let topic = node.ear.channels.lock().get(channel).and_then(|listened| listened.topic.upgrade());
            if let Some(topic) = topic {
                topic.ring();
            }
        }
    }
    let less: Vec<_> = heard.difference(&wanted).cloned().collect();
    if !less.is_empty() {
        timeout(patience, sink.unsubscribe(&less)).await.map_err(late)??;
    }
    *heard = wanted;
    Ok(())
}

fn hear(node: &Node, message: &Msg) {
    let listened = |channels: &HashMap<String, Listened>| {
        channels.get(message.get_channel_name()).and_then(|listened| listened.topic.upgrade())
    };
    let Some(topic) = listened(&node.ear.channels.lock()) else { return };
    let Ok(text) = std::str::from_utf8(message.get_payload_bytes()) else { return };
    let mut words = text.split(' ');
    let own = |from: Option<&str>| from.and_then(|from| u64::from_str_radix(from, 16).ok()) == Some(node.id);
    match words.next() {
        Some("group") => {
            if !own(words.next())
                && let Some(group) = words.next()
            {
                topic.ring_group(group);
            }
        }
        Some("settled") => {
            let from = words.next();
            if let (false, Some(crew)) = (own(from), words.next().and_then(|group| topic.crew(group))) {
                words.filter_map(|id| id.parse().ok()).for_each(|id| crew.forget(id));
                crew.ring();
            }
        }
        // What this node adds it sees from the answer.
        Some("new") if own(words.next()) => {}
        _ => topic.ring(),
    }
}
