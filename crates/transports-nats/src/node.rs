//! This node among the others: its crews, and what nodes tell each other.
//!
//! Nodes need each other only while they live: a token is settled by the node that handed it out, and by its record
//! when that node is gone.

use std::{sync::Arc, time::Duration};

use busgate_core::{Result, Tasks};
use futures_util::future::join_all;
use tokio::time::timeout;

use self::crews::Crews;
use crate::{catalog::Catalog, config::NatsConfig, event::End, link::Link, name, records::Records};

mod crews;
mod joining;
mod news;
mod publishing;
mod question;
mod settling;

/// How long a node may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// One gateway process.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) link: Arc<Link>,
    pub(crate) catalog: Catalog,
    pub(crate) records: Arc<Records>,
    pub(crate) config: NatsConfig,
    /// Its number, as tokens name it: another in every process.
    pub(crate) owner: u64,
    crews: Crews,
    tasks: Tasks,
}

impl Node {
    /// Connects, and listens to the other nodes.
    pub(crate) async fn start(config: NatsConfig) -> Result<Arc<Self>> {
        let link = Link::connect(&config).await?;
        let records = Arc::new(Records::new(Arc::clone(&link), &config));
        let catalog = Catalog::new(Arc::clone(&link), config.clone());
        let (owner, tasks) = (name::fresh(), Tasks::new());
        let node = Self { link, catalog, records, config, owner, crews: Crews::default(), tasks };
        let node = Arc::new(node);
        node.hear_questions().await?;
        node.hear_news().await?;
        Ok(node)
    }

    /// Runs what must come to its end although nobody may wait for it.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Ends all there is; what can go back to the server goes back.
    pub(crate) async fn close(&self) {
        self.link.close();
        self.catalog.close();
        let crews = self.crews.take_all();
        crews.iter().for_each(|crew| {
            crew.event.finish(End::Closed);
            crew.wake_all();
        });
        // What was read ahead goes back at once; what is leased stays so until it is settled, or its time is over.
        let _ = timeout(GOODBYE, join_all(crews.iter().map(|crew| crew.at_rest()))).await;
        self.tasks.close().await;
        // The connection ends with the last who has it.
        let _ = self.link.client.flush().await;
    }
}
