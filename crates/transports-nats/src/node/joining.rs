//! Taking a subscription into its group: the durable consumer on the server, and the crew on this node.

use std::sync::Arc;

use busgate_core::{ConsumerLag, Gap, Holder, Result, SubscribeOptions};

use super::Node;
use crate::{
    api::ConsumerInfo,
    consumer,
    crew::Crew,
    error,
    event::Event,
    name,
    start::{known_stream, locate},
};

impl Node {
    /// Takes a subscription into its crew; its serial.
    pub(crate) async fn join(
        self: &Arc<Self>,
        event: &Arc<Event>,
        holder: &Holder,
        options: &SubscribeOptions,
    ) -> Result<(Arc<Crew>, u64)> {
        // Now, and not when the first message comes back.
        self.records.ensure().await?;
        let consumer = name::consumer(holder);
        let (info, gap, seen) = match self.link.consumer(&event.stream, &consumer).await? {
            Some(info) => {
                let (gap, last) = self.passed_by(event, &info).await?;
                (info, gap, last)
            }
            None => {
                let (info, gap) = self.create(event, &consumer, options).await?;
                let seen = info.delivered.stream_seq;
                (info, gap, seen)
            }
        };
        let crew = self.keep(event, holder, &info, seen);
        let serial = self.link.serial();
        if matches!(holder, Holder::Consumer(_)) {
            self.tell_taken(&event.stream, &consumer);
        }
        crew.join(serial, options, gap);
        Ok((crew, serial))
    }

    /// What retention took before the group got it; and up to where messages may have been delivered before.
    async fn passed_by(&self, event: &Event, info: &ConsumerInfo) -> Result<(Option<Gap>, u64)> {
        let stream = known_stream(&self.link, event).await?;
        // Servers of 2.9 may count back: there any message may have been delivered.
        let counts = self.link.client.is_server_compatible(2, 10, 0);
        let seen = if counts { info.delivered.stream_seq } else { stream.state.last_seq };
        let (next, first) = (info.reached().saturating_add(1), stream.state.first());
        if next >= first {
            return Ok((None, seen));
        }
        let cursor = Some(event.before(first).to_cursor()?);
        Ok((Some(Gap { missed: event.is_whole.then(|| first - next), cursor }), seen))
    }

    async fn create(
        &self,
        event: &Event,
        consumer: &str,
        options: &SubscribeOptions,
    ) -> Result<(ConsumerInfo, Option<Gap>)> {
        let (from, gap) = locate(&self.link, event, &options.start).await?;
        let config = consumer::of_group(event, consumer, options.retry.ack_wait, from, &self.config)?;
        match self.link.create_consumer(&event.stream, consumer, &config).await? {
            Ok(info) => Ok((info, gap)),
            Err(refused) if refused.code() == 404 => Err(error::not_registered(&event.name)),
            Err(refused) => match self.link.consumer(&event.stream, consumer).await? {
                // Another node was faster, and asked for another start.
                Some(info) => Ok((info, None)),
                None => Err(error::api(refused)),
            },
        }
    }

    /// The crew of a consumer: one for each on this node, with its task.
    pub(super) fn keep(
        &self,
        event: &Arc<Event>,
        holder: &Holder,
        info: &ConsumerInfo,
        seen: u64,
    ) -> Arc<Crew> {
        self.crews.keep(event, holder, info, || {
            let crew = Crew::new(&self.link, &self.records, event, holder, info, seen);
            self.tasks.spawn(Arc::clone(&crew).run());
            crew
        })
    }

    /// How far each group of an event is, here and on other nodes.
    pub(crate) async fn lag(&self, event: &Event) -> Result<Vec<ConsumerLag>> {
        let consumers = self.link.consumers(&event.stream).await?;
        let lag = consumers.iter().filter_map(|info| {
            let holder = name::holder(&info.name)?;
            let crew = self.crews.of(&event.name, &holder);
            Some(match crew.filter(|crew| crew.is_of(event, info)) {
                Some(crew) => crew.lag(info),
                None => Crew::lag_elsewhere(holder, info),
            })
        });
        Ok(lag.collect())
    }
}
