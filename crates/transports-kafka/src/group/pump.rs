//! The task of a crew: it reads, commits, and gives and takes partitions as the broker says.

mod again;
mod change;
mod intake;
mod telling;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use busgate_core::{Error, Start};
use tokio::time::{Instant, sleep_until};

use self::{
    again::Again,
    change::{Change, LAST_COMMIT},
    intake::Intake,
    telling::Telling,
};
use super::{
    Crew,
    client::{Client, Fatal, Signal, fatal},
    crew::Phase,
    opening,
    state::{End, LINGER, wakes::Wakes},
    track::Track,
};
use crate::error::{closed, unknown};

/// How long a new member waits for its first partitions: there may be none left for it.
const JOINING: Duration = Duration::from_secs(3);

/// How often the pump looks without being told to.
const TICK: Duration = Duration::from_secs(1);

/// How many errors are looked at in one turn.
const MAX_ERRORS: usize = 100;

/// The task's own part of a crew.
pub(super) struct Pump {
    crew: Arc<Crew>,
    client: Arc<Client>,
    intake: Intake,
    again: Again,
    change: Change,
    telling: Telling,
    serial: u64,
    joined: Instant,
    error: Option<Error>,
    /// Whether the group has to be joined in another way.
    is_to_begin_anew: bool,
}

/// Runs a crew until nobody needs it, or it is told to end. `start` is where the group begins if there is none yet.
pub(super) async fn run(crew: Arc<Crew>, mut start: Option<Start>) {
    let error = loop {
        let opened = tokio::select! {
            opened = opening::open(&crew, start.take()) => opened,
            () = crew.event.ended.cancelled() => Err(unknown(&crew.event.name)),
        };
        let client = match opened {
            Ok(client) => client,
            Err(error) => {
                crew.state.lock().end = Some(End::Closed);
                break Some(error);
            }
        };
        let mut pump = Pump::new(&crew, client);
        pump.work().await;
        let (error, is_over) = (pump.error.take(), pump.is_over());
        pump.close().await;
        if is_over {
            break error;
        }
    };
    crew.phase.send_replace(Phase::Gone(error));
}

impl Pump {
    fn new(crew: &Arc<Crew>, client: Arc<Client>) -> Self {
        let now = Instant::now();
        Self {
            crew: Arc::clone(crew),
            client,
            intake: Intake::new(now),
            again: Again::default(),
            change: Change::None,
            telling: Telling::new(now),
            serial: 0,
            joined: now,
            error: None,
            is_to_begin_anew: false,
        }
    }

    /// Whether the crew is over with it, rather than joining in another way.
    fn is_over(&self) -> bool {
        !self.is_to_begin_anew || self.crew.state.lock().end.is_some()
    }

    /// Leaves the group.
    async fn close(self) {
        let Self { crew, client, intake, .. } = self;
        let here: Vec<_> = crew.state.lock().tracks.keys().copied().collect();
        crew.state.lock().lose(&here);
        // It can only fail when the runtime ends, and then nobody waits.
        let _ = tokio::task::spawn_blocking(move || {
            drop(intake);
            drop(client);
        })
        .await;
        crew.inbox.reopen();
    }

    async fn work(&mut self) {
        let ended = self.crew.event.ended.clone();
        loop {
            if ended.is_cancelled() {
                self.crew.finish(End::Unregistered);
            }
            let is_busy = self.turn().await;
            if self.is_to_begin_anew || self.is_done() {
                return;
            }
            if is_busy {
                tokio::task::yield_now().await;
                continue;
            }
            let wake = self.wake_at();
            let taking = async {
                match &mut self.change {
                    Change::Taking(_, asked) => asked.await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.crew.inbox.wake.notified() => {}
                () = sleep_until(wake) => {}
                () = ended.cancelled(), if !ended.is_cancelled() => {}
                read = taking => {
                    let read = read.unwrap_or_else(|_| Err(closed()));
                    self.take_up(read);
                }
                bounds = self.intake.bounds() => self.intake.pass_by(&self.crew, bounds),
                read = self.again.read() => self.again.take_in(&self.crew, read),
                told = self.telling.told() => self.telling.end(&self.crew, told),
            }
        }
    }

    /// One look at everything; whether there is more at once.
    async fn turn(&mut self) -> bool {
        let errors: Vec<_> = std::iter::from_fn(|| self.client.serve()).take(MAX_ERRORS).collect();
        let now = Instant::now();
        if self.telling.is_silent(now) || !errors.is_empty() {
            self.crew.state.lock().doubt(now);
        }
        for error in errors {
            tracing::debug!(%error, group = self.crew.id, "a group is held up");
            match fatal(error) {
                Some(Fatal::NotLed) => {
                    tracing::info!("the broker leads no groups: their members lead them");
                    self.crew.is_led.store(false, Ordering::Relaxed);
                    self.is_to_begin_anew = true;
                }
                Some(Fatal::Over(error)) => self.fail(error),
                None => {}
            }
        }
        self.signals();
        let is_busy = self.intake.read(&self.crew);
        self.intake.look(&self.crew);
        self.again.begin(&self.crew);
        self.expire();
        self.crew.state.lock().repeat(Instant::now());
        self.telling.begin(&self.crew, &self.client);
        self.leave();
        self.open_up();
        is_busy
    }

    fn fail(&mut self, error: Error) {
        tracing::warn!(%error, group = self.crew.id, "a group can't go on");
        self.error.get_or_insert(error);
        self.crew.finish(End::Closed);
    }

    /// Takes in what librdkafka told; one rebalance after the other.
    fn signals(&mut self) {
        while matches!(self.change, Change::None) {
            match self.crew.inbox.pop() {
                Some(Signal::Assigned(partitions)) => self.begin_taking(partitions),
                Some(Signal::Revoked { partitions, lost }) => self.begin_leaving(partitions, lost),
                None => return,
            }
        }
    }

    fn expire(&self) {
        let mut wakes = Wakes::default();
        self.crew.state.lock().expire(Instant::now(), &mut wakes);
        wakes.wake();
    }

    /// Those who wait for the first partitions need wait no longer, when they are there or not to be had.
    fn open_up(&self) {
        if !matches!(*self.crew.phase.borrow(), Phase::Opening) {
            return;
        }
        let is_ready = {
            let state = self.crew.state.lock();
            let claimed = !state.tracks.is_empty() && !state.tracks.values().any(Track::is_new);
            claimed || state.end.is_some()
        };
        if is_ready || self.joined.elapsed() >= JOINING {
            // Whoever waited for this comes now.
            self.crew.state.lock().idle_since = Instant::now();
            self.crew.phase.send_replace(Phase::Open);
        }
    }

    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let mut state = self.crew.state.lock();
        let mut at = now + TICK;
        if let Some(next) = state.rearm() {
            // What is due waits for the commit that is on its way, or for its turn.
            let next = self.telling.turn_of(next, now);
            if next > now {
                at = at.min(next);
            }
        }
        if matches!(*self.crew.phase.borrow(), Phase::Opening) {
            at = at.min(self.joined + JOINING);
        } else if state.members() == 0 && state.end.is_none() {
            at = at.min(state.idle_since + LINGER);
        }
        if let Change::TakingAgain(_, until) | Change::Leaving(_, until) = self.change {
            at = at.min(until);
        }
        at
    }

    /// Whether there is nothing more to do; begins to end when nobody is left.
    fn is_done(&mut self) -> bool {
        let now = Instant::now();
        let mut state = self.crew.state.lock();
        let is_opening = matches!(*self.crew.phase.borrow(), Phase::Opening);
        let is_idle = state.members() == 0 && !is_opening && now >= state.idle_since + LINGER;
        if is_idle && state.end.is_none() {
            let mut wakes = Wakes::default();
            state.finish(End::Idle, &mut wakes);
        }
        match state.end {
            None => false,
            Some(End::Unregistered) => true,
            Some(End::Closed | End::Idle) => {
                if state.tracks.values().any(Track::is_open) {
                    state.tracks.values_mut().for_each(|track| track.leave(now));
                    state.idle_since = now;
                    self.telling.hurry(now);
                    return false;
                }
                let is_told = state.tracks.values().all(|track| track.due().is_none());
                (is_told && self.telling.is_idle()) || now >= state.idle_since + LAST_COMMIT
            }
        }
    }
}
