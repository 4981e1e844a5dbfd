//! The one thread that writes: it gathers whatever waits into one transaction, syncs once, and answers everyone.

mod burial;
mod cycle;
mod log;
mod queue;
mod registry;
mod retention;

use std::{
    collections::HashMap,
    sync::{Arc, mpsc},
    time::Duration,
};

use busgate_core::{Moment, Result};
use tokio::{sync::oneshot, time::Instant};

use self::{
    burial::Burial,
    cycle::Work,
    queue::{Control, Op},
};
pub(crate) use self::{
    log::{Log, Meta},
    queue::{Parcel, Queue},
};
use crate::{
    catalog::Catalog,
    config::LogConfig,
    lease::Seat,
    store::{EventId, Readers, StateKey, Store},
};

/// How long a change that nobody waits for (an attempt) stays unwritten at most.
const LAZY: Duration = Duration::from_millis(20);

/// How often retention looks at ages.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// How long to wait after a commit that failed, when nobody asks for another.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// The writer's own state. Everything in it is what is on disk; what is not yet there is in a cycle's stage.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) store: Store,
    pub(crate) readers: Arc<Readers>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) config: LogConfig,
    pub(crate) logs: HashMap<EventId, Log>,
    /// Unregistered events whose messages are not all deleted yet.
    pub(crate) graves: Vec<EventId>,
    burials: Vec<Burial>,
    soiled: HashMap<StateKey, Arc<Seat>>,
    ops: mpsc::Receiver<Op>,
    /// When the soiled seats have to be written down.
    lazy_at: Option<Instant>,
    housekeeping_at: Instant,
}

/// What ended the gathering.
enum Gathered {
    /// Do this.
    Work(Work),
    /// Everyone who could ask for something is gone, or someone asked for the end.
    Over(Option<oneshot::Sender<Result<()>>>),
}

impl Writer {
    pub(crate) fn new(
        store: Store,
        readers: Arc<Readers>,
        catalog: Arc<Catalog>,
        config: LogConfig,
    ) -> (Self, Queue) {
        let (queue, ops) = Queue::new(config.max_queued_bytes);
        let writer = Self {
            store,
            readers,
            catalog,
            config,
            logs: HashMap::new(),
            graves: Vec::new(),
            burials: Vec::new(),
            soiled: HashMap::new(),
            ops,
            lazy_at: None,
            housekeeping_at: Instant::now() + HOUSEKEEPING,
        };
        (writer, queue)
    }

    /// Works until it is closed.
    pub(crate) fn run(mut self) {
        let answer = loop {
            match self.gather() {
                Gathered::Work(work) => self.work(work),
                Gathered::Over(answer) => break answer,
            }
        };
        let result = if self.soiled.is_empty() && self.burials.is_empty() {
            Ok(())
        } else {
            self.cycle(Work::default())
        };
        self.readers.close();
        drop(self.store);
        if let Some(answer) = answer {
            let _ = answer.send(result);
        }
    }

    pub(crate) fn now(&self) -> Moment {
        Moment { at: Instant::now(), wall: self.config.clock.now() }
    }

    fn work(&mut self, mut work: Work) {
        let control = work.control.take();
        if Instant::now() >= self.housekeeping_at {
            self.housekeeping_at = Instant::now() + HOUSEKEEPING;
            work.housekeeping = true;
        }
        let lazy_is_due = self.lazy_at.is_some_and(|at| Instant::now() >= at);
        if work.is_asked_for() || lazy_is_due || (work.housekeeping && self.has_chores()) {
            let pause =
                if self.cycle(work).is_ok() && self.burials.is_empty() { LAZY } else { AFTER_FAILURE };
            let more = !self.soiled.is_empty() || !self.burials.is_empty();
            self.lazy_at = more.then(|| Instant::now() + pause);
        }
        match control {
            Some(Control::Register { name, config, answer }) => {
                let _ = answer.send(self.register(&name, &config));
            }
            Some(Control::Unregister { event, answer }) => {
                let _ = answer.send(self.unregister(&event));
            }
            None => {}
        }
    }

    /// Waits for the first thing to do, and takes what is there beside it.
    fn gather(&mut self) -> Gathered {
        let mut work = Work::default();
        let until = self.lazy_at.map_or(self.housekeeping_at, |at| at.min(self.housekeeping_at));
        let mut next = match self.ops.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(op) => Some(op),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => return Gathered::Over(None),
        };
        while let Some(op) = next {
            match op {
                Op::Append(append) => work.append(append),
                Op::Keep(keep) => self.keep(&mut work, keep),
                Op::Soiled(seat) => {
                    self.soiled.insert(seat.key(), seat);
                    self.lazy_at.get_or_insert_with(|| Instant::now() + LAZY);
                }
                Op::Bury(seat, story) => {
                    if let Some(burial) = self.prepare(seat, &story) {
                        self.burials.push(burial);
                        work.burying = true;
                    }
                }
                Op::Control(control) => {
                    work.control = Some(control);
                    break;
                }
                Op::Close(answer) => return self.last(work, answer),
            }
            next = if work.is_full() { None } else { self.ops.try_recv().ok() };
        }
        Gathered::Work(work)
    }

    fn keep(&mut self, work: &mut Work, keep: queue::Keep) {
        for seat in &keep.seats {
            self.soiled.insert(seat.key(), Arc::clone(seat));
        }
        work.keeps.push(keep);
    }

    /// What was asked for before the end is done before the end.
    fn last(&mut self, work: Work, answer: oneshot::Sender<Result<()>>) -> Gathered {
        if work.is_asked_for() {
            let _ = self.cycle(work);
        }
        Gathered::Over(Some(answer))
    }
}
