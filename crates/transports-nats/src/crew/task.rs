//! The one task of a crew.

use std::{sync::Arc, time::Duration};

use async_nats::Subscriber;
use busgate_core::Result;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use self::election::elected;
use super::{Crew, Wakes, state::RECHECK};
use crate::{
    delivery::IN_PROGRESS,
    event::End,
    pull::{Heard, Puller},
};

mod arrivals;
mod asking;
mod election;
mod restart;

/// How long to wait after a fault.
const MOMENT: Duration = Duration::from_millis(50);

/// A task that finds itself this much later than it should be may have slept through anything.
const STALL: Duration = Duration::from_secs(1);

struct Run {
    crew: Arc<Crew>,
    puller: Option<Puller>,
    /// When to try again to reach the consumer.
    retry_at: Option<Instant>,
    recheck_at: Option<Instant>,
    /// Admissions, and leases that end.
    work: FuturesUnordered<BoxFuture<'static, ()>>,
    elections: Option<Subscriber>,
    changes: watch::Receiver<u64>,
    ending: watch::Receiver<Option<End>>,
}

enum Woken {
    Heard(Result<Heard>),
    Worked,
    Alarm,
    Reconnected,
    Elected,
    Ended,
    Time,
}

impl Crew {
    /// Works for the crew until its event ends.
    pub(crate) async fn run(self: Arc<Self>) {
        let (changes, ending) = (self.link.changes(), self.event.ending());
        let (work, elections) = (FuturesUnordered::new(), self.elections().await);
        let crew = self;
        let mut run =
            Run { crew, puller: None, retry_at: None, recheck_at: None, work, elections, changes, ending };
        run.changes.mark_unchanged();
        while run.crew.event.ended().is_none() && !run.crew.state.lock().is_given_up {
            run.turn().await;
        }
        run.crew.wake_all();
        if run.crew.event.ended() == Some(End::Closed) {
            run.crew.state.lock().seats.dismiss(&mut Wakes::default());
            run.withdraw().await;
        }
        run.crew.rests.send_replace(true);
    }
}

impl Run {
    async fn turn(&mut self) {
        self.meet_deadlines();
        self.keep_asking().await;
        match self.wait().await {
            Woken::Heard(heard) => self.hear(heard).await,
            Woken::Worked | Woken::Alarm | Woken::Ended | Woken::Time => {}
            Woken::Elected => self.be_usurped().await,
            Woken::Reconnected => self.start_over().await,
        }
    }

    async fn hear(&mut self, heard: Result<Heard>) {
        match heard {
            Ok(Heard::Message(message)) => self.take_in(message),
            Ok(Heard::Nothing) => {}
            Ok(Heard::Trouble) => self.retry_at = Some(Instant::now() + MOMENT),
            Ok(Heard::Gone) | Err(_) => self.start_over().await,
        }
    }

    async fn wait(&mut self) -> Woken {
        let until = self.until();
        let puller = &mut self.puller;
        let heard = async {
            match puller {
                Some(puller) => puller.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.ending.changed() => Woken::Ended,
            _ = self.changes.changed() => Woken::Reconnected,
            () = elected(&mut self.elections) => Woken::Elected,
            heard = heard => Woken::Heard(heard),
            Some(()) = self.work.next() => Woken::Worked,
            () = self.crew.alarm.notified() => Woken::Alarm,
            () = sleep_until(until) => {
                if Instant::now() > until + STALL {
                    tracing::warn!(event = %self.crew.event.name, "the node stood still: what it holds is in doubt");
                    self.crew.doubt();
                }
                Woken::Time
            }
        }
    }

    fn until(&self) -> Instant {
        let state = self.crew.state.lock();
        let deadline = state.book.next_duty(self.crew.patience());
        drop(state);
        let silent = self.puller.as_ref().and_then(Puller::silent_at);
        let times = [deadline, silent, self.retry_at, self.recheck_at];
        times.into_iter().flatten().min().unwrap_or_else(|| Instant::now() + Duration::from_secs(3600))
    }

    /// Ends what ran out, tells the server of what takes long, and wakes another for what nobody took.
    fn meet_deadlines(&mut self) {
        let (crew, now) = (&self.crew, Instant::now());
        let (over, quiet, has_work) = crew.change(|state, wakes| {
            let over = state.expire(now, wakes);
            let quiet = state.book.untouched(now, crew.patience(), crew.link.generation());
            let has_work = state.has_work();
            if has_work && self.recheck_at.is_some_and(|at| at <= now) {
                state.seats.wake_idle(1, wakes);
            }
            (over, quiet, has_work)
        });
        if !has_work {
            self.recheck_at = None;
        } else if self.recheck_at.is_none_or(|at| at <= now) {
            self.recheck_at = Some(now + RECHECK);
        }
        for reply in quiet {
            // Where that is lost, the next time is in time as well.
            let _ = crew.link.post(reply, IN_PROGRESS);
        }
        for entry in over {
            self.work.push(Arc::clone(crew).give_back(entry).boxed());
        }
    }
}
