//! Worker groups and named consumers.

mod client;
mod crew;
mod opening;
mod pump;
mod state;
mod track;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use busgate_core::{
    ConsumerLag, Error, EventName, Holder, Result, Settled, Settlement, Start, SubscribeOptions,
    Subscription, Tasks, Transport, Verb,
};
use parking_lot::Mutex;
use tokio::time::timeout;

pub(crate) use self::crew::{Crew, Found};
use self::state::{Ask, End};
use crate::{
    error::closed,
    event::Event,
    lease::{Entry, Member},
    shared::Shared,
};

/// How long closing waits for the last commits.
const CLOSING: Duration = Duration::from_secs(5);

/// The groups and named consumers of a node.
#[derive(Debug)]
pub(crate) struct Groups {
    shared: Arc<Shared>,
    crews: Mutex<HashMap<(EventName, Holder), Arc<Crew>>>,
    serial: AtomicU64,
    tasks: Tasks,
}

impl Groups {
    pub(crate) fn new(shared: Arc<Shared>) -> Arc<Self> {
        let (crews, tasks) = (Mutex::default(), Tasks::new());
        Arc::new(Self { shared, crews, serial: AtomicU64::new(1), tasks })
    }

    /// Joins a group, or takes a named consumer over.
    pub(crate) async fn subscribe(
        self: Arc<Self>,
        transport: Arc<dyn Transport>,
        event: Arc<Event>,
        holder: Holder,
        options: SubscribeOptions,
    ) -> Result<Subscription> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        loop {
            let crew = self.crew(&event, &holder, Some(options.start.clone()))?;
            crew.opened().await?;
            if crew.join(serial, &options) {
                return Ok(Subscription::new(Member::new(crew, transport, serial)));
            }
            // It ended as the last member left: a new one goes on from what it commits.
            crew.gone().await;
            self.shared.check_open()?;
        }
    }

    /// The crew of a holder: the one there is, or a new one.
    fn crew(&self, event: &Arc<Event>, holder: &Holder, start: Option<Start>) -> Result<Arc<Crew>> {
        self.shared.check_open()?;
        let mut crews = self.crews.lock();
        crews.retain(|_, crew| !crew.is_gone());
        let key = (event.name.clone(), holder.clone());
        if let Some(crew) = crews.get(&key).filter(|crew| crew.event.life == event.life) {
            return Ok(Arc::clone(crew));
        }
        let id = id(&self.shared.config.prefix, &event.name, holder);
        let crew = Crew::new(Arc::clone(&self.shared), Arc::clone(event), holder.clone(), id);
        crews.insert(key, Arc::clone(&crew));
        self.tasks.spawn(pump::run(Arc::clone(&crew), start));
        Ok(crew)
    }

    /// Settles; the answers are in the order of the settlements.
    pub(crate) async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<Settled>> {
        let mut answers: Vec<Option<Result<Settled>>> = batch.iter().map(|_| None).collect();
        let mut by_holder: HashMap<(&EventName, &Holder), Vec<Ask<'_>>> = HashMap::new();
        for (index, settlement) in batch.iter().enumerate() {
            let Settlement { token, verb } = settlement;
            let entry = match Entry::parse(&token.entry) {
                Ok(_) if matches!(verb, Verb::Reject { .. }) => {
                    Err(Error::unsupported("kafka keeps no dead letters of its own"))
                }
                other => other,
            };
            match entry {
                Ok(entry) => {
                    let ask = Ask { index, entry, epoch: token.epoch, verb };
                    by_holder.entry((&token.event, &token.holder)).or_default().push(ask);
                }
                Err(error) => put(&mut answers, index, Err(error)),
            }
        }
        for ((event, holder), asks) in by_holder {
            self.settle_of(event, holder, &asks, &mut answers).await;
        }
        let silent = || Err(Error::internal("no answer to a settlement"));
        answers.into_iter().map(|answer| answer.unwrap_or_else(silent)).collect()
    }

    async fn settle_of(
        &self,
        event: &EventName,
        holder: &Holder,
        asks: &[Ask<'_>],
        answers: &mut [Option<Result<Settled>>],
    ) {
        let crew = self.crews.lock().get(&(event.clone(), holder.clone())).cloned();
        let Some(crew) = crew else { return };
        let settling = crew.settle(asks);
        for (index, settled) in settling.answers {
            put(answers, index, Ok(settled));
        }
        let Some(committed) = settling.committed else { return };
        if committed.await == Ok(true) {
            for (index, settled) in settling.pending {
                put(answers, index, Ok(settled));
            }
        }
    }

    /// How far each group and named consumer of the event is.
    pub(crate) async fn lag(&self, event: &Arc<Event>) -> Result<Vec<ConsumerLag>> {
        let of_event = |crew: &&Arc<Crew>| crew.event.name == event.name && !crew.is_gone();
        let crews: Vec<_> = self.crews.lock().values().filter(of_event).cloned().collect();
        let ends = self.shared.asker.ends(&event.topic, event.partitions()).await?;
        Ok(crews.iter().map(|crew| crew.lag(&ends)).collect())
    }

    /// Deletes what the groups of an event that was unregistered leave behind: their topics and offsets.
    pub(crate) async fn forget(&self, event: &Arc<Event>) -> Result<()> {
        let of_event = |crew: &&Arc<Crew>| crew.event.name == event.name;
        let crews: Vec<_> = self.crews.lock().values().filter(of_event).cloned().collect();
        for crew in crews {
            crew.finish(End::Unregistered);
        }
        Ok(())
    }

    /// Ends all subscriptions; called before the shared clients end.
    pub(crate) async fn close(&self) {
        let crews: Vec<_> = self.crews.lock().values().cloned().collect();
        for crew in &crews {
            crew.finish(End::Closed);
        }
        let all = async {
            for crew in &crews {
                crew.gone().await;
            }
        };
        if timeout(CLOSING, all).await.is_err() {
            tracing::warn!("groups were closed before their last commits");
        }
        self.tasks.close().await;
    }
}

fn put(answers: &mut [Option<Result<Settled>>], index: usize, answer: Result<Settled>) {
    if let Some(slot) = answers.get_mut(index) {
        *slot = Some(answer);
    }
}

/// The name of a holder on the broker: no event, group or consumer has a slash in its name.
fn id(prefix: &str, event: &EventName, holder: &Holder) -> String {
    match holder {
        Holder::Group(group) => format!("{prefix}{event}/group/{group}"),
        Holder::Consumer(consumer) => format!("{prefix}{event}/consumer/{consumer}"),
    }
}
