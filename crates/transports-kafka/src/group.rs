//! Worker groups and named consumers.

mod client;
mod crew;
mod lag;
mod opening;
mod payloads;
mod pump;
mod state;
mod track;

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use busgate_core::{
    EventName, Holder, Moment, Result, Start, SubscribeOptions, Subscription, Tasks, Transport,
};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use self::state::End;
pub(crate) use self::{
    crew::{Crew, found::Found},
    state::settling::Ask,
};
use crate::{event::Event, lease::Member, settle::Relay, shared::Shared, shelf::held_topic};

/// How long closing waits for the last commits.
const CLOSING: Duration = Duration::from_secs(5);

/// The groups and named consumers of a node.
#[derive(Debug)]
pub(crate) struct Groups {
    pub(crate) shared: Arc<Shared>,
    pub(crate) relay: Relay,
    /// Whether the broker leads groups (KIP-848), as far as this node knows.
    is_led: Arc<AtomicBool>,
    crews: Mutex<HashMap<(EventName, Holder), Arc<Crew>>>,
    serial: AtomicU64,
    tasks: Tasks,
}

impl Groups {
    pub(crate) fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new_cyclic(|groups| {
            let relay = Relay::new(&shared, Weak::clone(groups));
            let (crews, tasks) = (Mutex::default(), Tasks::new());
            let is_led = Arc::new(AtomicBool::new(true));
            Self { shared, relay, is_led, crews, serial: AtomicU64::new(1), tasks }
        })
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
        self.relay.open(&self.shared).await?;
        loop {
            let crew = self.crew(&event, &holder, Some(options.start.clone()))?;
            crew.opened().await?;
            let is_first = crew.members() == 0;
            if crew.join(serial, &options) {
                let member = Member::new(Arc::clone(&crew), transport, serial);
                // A member is there by now, so what is missing is told to one. Where it can't be known, reading finds it.
                if is_first
                    && let Ok(begins) = self.shared.asker.begins(&event.topic, event.partitions()).await
                {
                    crew.trim(&begins)?;
                }
                if matches!(holder, Holder::Consumer(_)) {
                    self.relay.take_over(&self.shared, &event.name, &holder, serial).await?;
                }
                return Ok(Subscription::new(member));
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
        let crew = Crew::new(self, Arc::clone(event), holder.clone(), id);
        crews.insert(key, Arc::clone(&crew));
        self.tasks.spawn(pump::run(Arc::clone(&crew), start));
        Ok(crew)
    }

    /// The crew of a holder, if there is one here.
    pub(crate) fn find(&self, event: &EventName, holder: &Holder) -> Option<Arc<Crew>> {
        let crew = self.crews.lock().get(&(event.clone(), holder.clone())).cloned();
        crew.filter(|crew| !crew.is_gone())
    }

    /// Takes part in a group for a while, without a member.
    ///
    /// # Errors
    /// `not_found` when there is no such group.
    pub(crate) async fn visit(&self, event: &Arc<Event>, holder: &Holder) -> Result<()> {
        self.crew(event, holder, None)?.opened().await
    }

    /// Runs beside the calls, until the groups are closed.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    fn crews_of(&self, event: &EventName) -> Vec<Arc<Crew>> {
        let crews = self.crews.lock();
        crews.values().filter(|crew| crew.event.name == *event && !crew.is_gone()).cloned().collect()
    }

    /// How many partitions hand out nothing fresh, as too many of their messages are set aside.
    pub(crate) fn laden(&self) -> usize {
        let crews = self.crews.lock();
        let laden =
            |crew: &Arc<Crew>| crew.state.lock().tracks.values().filter(|track| track.is_laden()).count();
        crews.values().map(laden).sum()
    }

    fn is_led(&self) -> bool {
        self.is_led.load(Ordering::Relaxed)
    }

    fn now(&self) -> Moment {
        Moment { at: Instant::now(), wall: self.shared.now() }
    }

    /// Deletes what the groups of an event that was unregistered leave behind: their topics and offsets.
    pub(crate) async fn forget(&self, event: &Arc<Event>) -> Result<()> {
        for crew in self.crews_of(&event.name) {
            crew.finish(End::Unregistered);
        }
        self.shared.admin.delete(&[&held_topic(&self.shared.config, event)]).await
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

/// The name of a holder on the broker: no event, group or consumer has a slash in its name.
fn id(prefix: &str, event: &EventName, holder: &Holder) -> String {
    match holder {
        Holder::Group(group) => format!("{prefix}{event}/group/{group}"),
        Holder::Consumer(consumer) => format!("{prefix}{event}/consumer/{consumer}"),
    }
}
