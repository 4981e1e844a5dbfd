//! Subscribing: to a group or as a named consumer, or without a name.

use std::{collections::hash_map::Entry, sync::Arc};

use busgate_core::{Holder, Result, Start, SubscribeOptions, Subscription};

use super::RedisTransport;
use crate::{
    crew::{self, Crew},
    ear::Listening,
    keys,
    member::Member,
    reader::Reader,
    topic::Topic,
};

impl RedisTransport {
    pub(super) async fn read_on(self: Arc<Self>, topic: Arc<Topic>, start: &Start) -> Result<Subscription> {
        let from = topic.from(start)?;
        let reader = Reader::open(Arc::clone(&self.node), Arc::clone(&topic), &from).await?;
        self.node.learn(&topic).await?;
        // The subscription keeps its transport open.
        let stream = futures_util::StreamExt::map(reader.into_stream(), move |item| {
            let _open = &self;
            item
        });
        Ok(Subscription::new(stream))
    }

    pub(super) async fn join(
        self: Arc<Self>,
        topic: Arc<Topic>,
        holder: Holder,
        options: &SubscribeOptions,
    ) -> Result<Subscription> {
        let from = topic.from(&options.start)?;
        let serial = self.node.serial();
        let member = match &holder {
            Holder::Consumer(_) => format!("{:x}-{serial}", self.node.id),
            Holder::Group(_) => String::new(),
        };
        let crew = Crew::new(Arc::clone(&topic), holder.clone(), 0);
        let retry = Some(&options.retry);
        let joined =
            self.node.join(&topic, &keys::group(&holder), &crew.all_keys(), &from, &member, retry).await?;
        self.node.learn(&topic).await?;
        let topic = self.node.keep(topic);
        let listening = Listening::new(&self.node, &topic);
        let gap = joined.lost.map(|after| topic.gap(joined.life, None, after)).transpose()?;
        let crew = loop {
            let crew = self.crew(&topic, &holder, joined.life);
            if crew.join(serial, options, &member, gap.clone(), joined.life) {
                break crew;
            }
        };
        let transport = self;
        Ok(Subscription::new(Member { transport, crew, serial, ended: false, _listening: listening }))
    }

    /// The crew of this holder, with a task that takes messages for it.
    fn crew(&self, topic: &Arc<Topic>, holder: &Holder, life: u64) -> Arc<Crew> {
        match topic.crews.lock().entry(holder.clone()) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(free) => {
                let crew = Arc::new(Crew::new(Arc::clone(topic), holder.clone(), life));
                free.insert(Arc::clone(&crew));
                self.tasks.spawn(crew::run(Arc::clone(&self.node), Arc::clone(&crew)));
                crew
            }
        }
    }
}
