//! A consumer of one's own that nobody acks: what readers and pages are read from.

use std::{sync::Arc, time::Duration};

use busgate_core::Result;
use tokio::time::sleep;

use crate::{
    api::ConsumerInfo,
    consumer, error,
    event::Event,
    link::Link,
    name,
    pull::Puller,
    start::{From, known_stream},
};

/// How long to wait before a server that did not know the stream is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// A consumer that nobody acks.
#[derive(Debug)]
pub(crate) struct Tap {
    pub(crate) puller: Puller,
    pub(crate) link: Arc<Link>,
    name: String,
    stream: String,
}

impl Tap {
    /// Has the server make it; what it says of it is where it starts, and how much there is.
    pub(crate) async fn open(link: &Arc<Link>, event: &Event, from: From) -> Result<(Self, ConsumerInfo)> {
        let name = format!("r-{:016x}-{}", name::fresh(), link.serial());
        let config = consumer::without_acks(event, &name, from)?;
        let puller = Puller::open(link, &event.stream, &name).await?;
        let mut answer = link.create_consumer(&event.stream, &name, &config).await?;
        if matches!(&answer, Err(refused) if refused.code() == 404) {
            known_stream(link, event).await?;
            sleep(PAUSE).await;
            answer = link.create_consumer(&event.stream, &name, &config).await?;
        }
        let info = answer.map_err(|refused| match refused.code() {
            404 => error::not_registered(&event.name),
            _ => error::api(refused),
        })?;
        let (link, stream) = (Arc::clone(link), event.stream.clone());
        Ok((Self { puller, name, link, stream }, info))
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.link.drop_consumer(&self.stream, &self.name);
    }
}
