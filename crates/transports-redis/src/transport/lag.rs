//! How far the groups of an event are.

use std::collections::BTreeMap;

use busgate_core::{ConsumerLag, ConsumerName, GroupName, Holder, Result};
use futures_util::future::try_join_all;
use redis::Value;

use super::catalog::Figure;
use crate::{error, id::EntryId, node::Node, reply::Reply, topic::Topic};

impl Node {
    /// How far each group of the event is, also those that only other clients use.
    pub(super) async fn lag(&self, topic: &Topic) -> Result<Vec<ConsumerLag>> {
        let exists = topic.mapped || self.registration(topic).await?.is_some();
        let groups = self.group_infos(topic).await?;
        if !exists && groups.is_empty() {
            let found = self.link.command(redis::cmd("EXISTS").arg(&topic.keys.stream)).await?;
            if found != Value::Int(1) {
                return Err(error::not_registered(&topic.name));
            }
        }
        let stream = self.stream_info(topic).await?.unwrap_or_default();
        let known = groups.iter().filter_map(|group| {
            let name = group.get("name")?.text()?;
            let pending = group.get("pending").and_then(Figure::number).unwrap_or(0);
            Some((holder(&name)?, name, fresh(group, &stream), pending))
        });
        let lags =
            known.map(|(holder, name, fresh, pending)| self.lag_of(topic, holder, name, fresh, pending));
        try_join_all(lags).await
    }

    async fn lag_of(
        &self,
        topic: &Topic,
        holder: Holder,
        group: String,
        fresh: Option<u64>,
        pending: u64,
    ) -> Result<ConsumerLag> {
        let [entries, leases, delayed, ready, lanes, runs] = topic.keys.of_group(&group);
        let count = async |verb: &str, key: &str, range: &[String]| -> Result<u64> {
            match self.link.command(redis::cmd(verb).arg(key).arg(range)).await? {
                Value::Int(count) => Ok(u64::try_from(count).unwrap_or(0)),
                _ => Err(error::nonsense("a count")),
            }
        };
        let now = self.config().clock.now().as_millis();
        let (running, over) = ([format!("({now}"), "+inf".into()], ["-inf".into(), now.to_string()]);
        let (ended, later, due, back, parked, in_runs, in_ended_runs) = tokio::try_join!(
            count("ZCOUNT", &leases, &over),
            count("ZCOUNT", &delayed, &running),
            count("ZCOUNT", &delayed, &over),
            count("ZCARD", &ready, &[]),
            count("ZCARD", &lanes, &[]),
            self.in_runs(&entries, &runs, &running),
            self.in_runs(&entries, &runs, &over),
        )?;
        let members = topic.crews.lock().get(&holder).map_or(0, |crew| crew.members());
        let in_flight = pending.saturating_sub(ended + due + later + back + parked) + in_runs;
        let waiting = fresh.map(|fresh| fresh + ended + due + back + parked + in_ended_runs);
        Ok(ConsumerLag { holder, waiting, in_flight, delayed: later, members: members as u64 })
    }

    /// How many messages are in runs whose lease ends within this range.
    async fn in_runs(&self, entries: &str, runs: &str, range: &[String]) -> Result<u64> {
        let epochs = self.link.command(redis::cmd("ZRANGEBYSCORE").arg(runs).arg(range)).await?;
        let epochs = Reply::new("runs", epochs)?.texts()?;
        if epochs.is_empty() {
            return Ok(0);
        }
        let fields: Vec<_> = epochs.iter().map(|epoch| format!("d{epoch}")).collect();
        let gone = self.link.command(redis::cmd("HMGET").arg(entries).arg(fields)).await?;
        let gone = Reply::new("runs", gone)?.rest();
        let left = gone.iter().filter_map(|bits| match bits {
            Value::BulkString(bits) => {
                Some(bits.iter().map(|byte| u64::from(byte.count_zeros())).sum::<u64>())
            }
            _ => None,
        });
        Ok(left.sum())
    }
}

/// How many messages the group has not come to.
///
/// The server's own count is too high once it was restarted or a replica took its place: its append-only file and its
/// replicas are not told how many a group has read. More than the stream holds can't be left, and nothing is left to a
/// group that stands at the last entry.
fn fresh(group: &BTreeMap<String, Figure>, stream: &BTreeMap<String, Figure>) -> Option<u64> {
    let last = stream.get("last-entry").and_then(Figure::entry);
    let at: Option<EntryId> = group.get("last-delivered-id")?.text()?.parse().ok();
    if last <= at {
        return Some(0);
    }
    let told = group.get("lag").and_then(Figure::number)?;
    Some(stream.get("length").and_then(Figure::number).map_or(told, |length| told.min(length)))
}

fn holder(group: &str) -> Option<Holder> {
    match group.strip_prefix("consumer/") {
        Some(name) => ConsumerName::new(name).ok().map(Holder::Consumer),
        None => GroupName::new(group).ok().map(Holder::Group),
    }
}
