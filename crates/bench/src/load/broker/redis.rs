//! Redis by its own client: XADD, many under way on one connection; XREADGROUP and one XACK a batch for each member.

use async_trait::async_trait;
use bytes::Bytes;
use redis::{
    AsyncCommands, AsyncConnectionConfig, Client,
    aio::MultiplexedConnection,
    streams::{StreamReadOptions, StreamReadReply},
};

use super::{Done, Side};
use crate::{Failure, load::pool::WINDOW};

const GROUP: &str = "workers";

/// How long a read waits for something new.
const WAIT_MILLIS: usize = 1000;

pub(super) struct Redis {
    client: Client,
    shared: MultiplexedConnection,
    key: String,
}

impl Redis {
    pub(super) async fn open(url: &str, event: &str) -> Result<Self, Failure> {
        let client = Client::open(url)?;
        let mut shared = connect(&client).await?;
        shared.xgroup_create_mkstream::<_, _, _, ()>(event, GROUP, "0").await?;
        Ok(Self { client, shared, key: event.to_owned() })
    }
}

async fn connect(client: &Client) -> Result<MultiplexedConnection, Failure> {
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
}

#[async_trait]
impl Side for Redis {
    async fn publish(&self, payload: Bytes) -> Result<(), Failure> {
        let fields = [("payload", &*payload)];
        Ok(self.shared.clone().xadd::<_, _, _, _, ()>(&self.key, "*", &fields).await?)
    }

    async fn work(&self, member: usize, done: &Done) -> Result<(), Failure> {
        // A blocked read holds its connection up.
        let mut own = connect(&self.client).await?;
        let mut shared = self.shared.clone();
        let options =
            StreamReadOptions::default().group(GROUP, format!("m{member}")).count(WINDOW).block(WAIT_MILLIS);
        loop {
            let read: Option<StreamReadReply> = own.xread_options(&[&self.key], &[">"], &options).await?;
            for entries in read.into_iter().flat_map(|read| read.keys) {
                let ids: Vec<&str> = entries.ids.iter().map(|entry| &*entry.id).collect();
                let acked: usize = shared.xack(&self.key, GROUP, &ids).await?;
                if acked < ids.len() {
                    return Err("an entry was not pending".into());
                }
                for entry in &entries.ids {
                    let payload: Vec<u8> = entry.get("payload").ok_or("an entry came without its payload")?;
                    done.acked(&payload);
                }
            }
        }
    }

    async fn clear(&self) -> Result<(), Failure> {
        Ok(self.shared.clone().del::<_, ()>(&self.key).await?)
    }
}
