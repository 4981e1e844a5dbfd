//! What a node tells all others, and what it does when it hears that.

use std::sync::{Arc, Weak};

use async_nats::Subscriber;
use busgate_core::{EventName, Result};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};

use super::Node;
use crate::event::{End, Event};

/// To all nodes, as JSON: they may be of different versions.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "news", rename_all = "snake_case")]
enum News {
    /// An event was unregistered.
    Gone { from: u64, event: String },
    /// A named consumer has a new subscription.
    Taken { from: u64, stream: String, consumer: String },
}

impl Node {
    pub(super) async fn hear_news(self: &Arc<Self>) -> Result<()> {
        let news = self.link.subscribe(self.news()).await?;
        self.tasks.spawn(follow(Arc::downgrade(self), news));
        Ok(())
    }

    fn news(&self) -> String {
        format!("{}_busgate.news", self.config.prefix)
    }

    /// Tells all other nodes. Whoever does not hear it finds out later.
    fn announce(&self, news: &News) {
        if let Ok(text) = serde_json::to_vec(news) {
            let _ = self.link.post(self.news().into(), text.into());
        }
    }

    /// What was unregistered: its subscriptions end, on every node.
    pub(crate) async fn bury(&self, event: &Event) {
        self.announce(&News::Gone { from: self.owner, event: event.name.to_string() });
        self.crews.drop_ended();
        // What is left of it goes by its age.
        let _ = self.records.forget_all(&event.stream).await;
    }

    /// A named consumer has a new subscription here: it ends wherever else it is.
    pub(super) fn tell_taken(&self, stream: &str, consumer: &str) {
        let (stream, consumer) = (stream.to_owned(), consumer.to_owned());
        self.announce(&News::Taken { from: self.owner, stream, consumer });
    }

    fn hear(&self, news: &News) {
        match news {
            News::Gone { from, event } if *from != self.owner => {
                if let Ok(event) = EventName::new(event) {
                    self.catalog.forget(&event, End::Unregistered);
                }
                self.crews.drop_ended();
            }
            News::Taken { from, stream, consumer } if *from != self.owner => {
                self.crews.dismiss(stream, consumer);
            }
            News::Gone { .. } | News::Taken { .. } => {}
        }
    }
}

async fn follow(node: Weak<Node>, mut news: Subscriber) {
    while let Some(message) = news.next().await {
        let Some(node) = node.upgrade() else { return };
        match serde_json::from_slice(&message.payload) {
            Ok(news) => node.hear(&news),
            Err(error) => tracing::debug!(%error, "another node says what can't be read"),
        }
    }
}
