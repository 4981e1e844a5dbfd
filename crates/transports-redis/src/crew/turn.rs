//! The turns of a crew: each gives back, starts leases, and takes messages in one call.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use busgate_core::{ErrorKind, Message, Result};
use redis::{Cmd, Value};
use tokio::time::{Instant, sleep, sleep_until};

use super::{AHEAD, Crew, End, LOOK, PORTION, Seat, SeatItem, State, Taken};
use crate::{
    codec,
    config::Topology,
    error,
    id::EntryId,
    lease,
    node::Node,
    reply::{Gone, Outcome, Reply},
    script,
};

/// How many bytes of messages are taken at once.
const MOST_BYTES: usize = 4 << 20;

/// The most messages that are read at first.
const MOST_CHUNK: usize = 256;

/// How many messages of a group may wait for an earlier one of their key before nothing new is taken.
const MOST_PARKED: usize = 10_000;

/// What is added to a lease when it is told: both clocks round down, and no lease may end early.
const ROUNDED: Duration = Duration::from_millis(5);

/// How many leases are told of at once.
const MOST_STARTS: usize = 1000;

/// What a turn does.
#[derive(Debug, Default)]
struct Plan {
    life: u64,
    member: String,
    want: usize,
    /// Up to where there is something to read, as was known then.
    there_is: EntryId,
    /// How many are read at first: as many as fit, by the size of those that came last.
    chunk: usize,
    returns: Vec<(EntryId, u64)>,
    /// Leases by entry, epoch, how long they run, and whether they were yielded.
    starts: Vec<(EntryId, u64, Duration, bool)>,
}

enum Next {
    Turn(Plan),
    Sleep(Instant),
    Over,
}

/// What a turn brought.
#[derive(Default)]
struct Brought {
    epoch: u64,
    entries: Vec<Value>,
    /// The epoch of those that have no entry of their own, and those.
    mark: u64,
    plain: Vec<(EntryId, Message)>,
    due: Option<u64>,
    more: bool,
    gap: Option<busgate_core::Gap>,
}

/// Takes turns until nobody is left.
pub(super) async fn run(node: Arc<Node>, crew: Arc<Crew>) {
    let mut pause = Duration::from_millis(50);
    loop {
        let plan = match crew.plan(Instant::now()) {
            Next::Over => return,
            Next::Sleep(until) => {
                tokio::select! {
                    () = crew.alarm.notified() => {}
                    () = sleep_until(until) => {}
                }
                continue;
            }
            Next::Turn(plan) => plan,
        };
        let asked = Instant::now();
        let outcome = crew.work(&node, &plan).await;
        match outcome {
            Ok(Ok(brought)) => {
                pause = Duration::from_millis(50);
                crew.take_in(brought, &plan, asked);
            }
            Ok(Err(gone)) => {
                if let Err(error) = crew.recover(&node, &plan, &gone).await {
                    tracing::debug!(%error, group = crew.group, "a group can't go on yet");
                    sleep(pause).await;
                }
            }
            Err(error) => {
                crew.keep_for_later(plan);
                if node.link.is_closed() {
                    crew.end(&End::Failed(error::closed()));
                    return;
                }
                tracing::debug!(%error, event = %crew.topic.name, group = crew.group, "a turn of the group failed");
                sleep(pause.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        }
    }
}

impl Crew {
    fn plan(&self, now: Instant) -> Next {
        // First the lock of the crews: whoever joins holds it as well.
        let mut crews = self.topic.crews.lock();
        let mut state = self.state.lock();
        if state.seats.is_empty() && state.returns.is_empty() && state.starts.is_empty() {
            state.over = true;
            crews.remove(&self.holder);
            return Next::Over;
        }
        drop(crews);
        state.plan(now)
    }

    async fn work(&self, node: &Node, plan: &Plan) -> Result<Result<Brought, Gone>> {
        let nonce = fastrand::u16(..);
        let cluster = node.config().topology == Topology::Cluster;
        let marked = self.marked.load(Ordering::Relaxed);
        let arguments = |command: &mut Cmd, number: u64| {
            command.arg(self.topic.mapped_flag()).arg(format!("{:x}", plan.life)).arg(&self.group);
            command
                .arg(format!("busgate-{:x}", node.id))
                .arg(nonce)
                .arg(plan.want)
                .arg(MOST_BYTES)
                .arg(MOST_PARKED);
            command.arg(AHEAD.as_millis()).arg(&self.topic.keys.channel).arg(&plan.member).arg(&self.group);
            // The driver of a cluster does not tell when another server takes over.
            let plainly = if cluster {
                "0"
            } else if marked == number {
                "1"
            } else {
                "2"
            };
            command.arg(&node.name).arg(plan.chunk).arg(plainly);
            command.arg(plan.returns.len()).arg(plan.starts.len());
            for (id, epoch) in &plan.returns {
                command.arg(*id).arg(lease::epoch_text(*epoch));
            }
            for (id, epoch, left, yielded) in &plan.starts {
                command.arg(*id).arg(lease::epoch_text(*epoch)).arg(left.as_millis());
                command.arg(if *yielded { "l" } else { "b" });
            }
        };
        let (number, value) = node.link.run_knowing(&script::WORK, &self.all_keys(), arguments).await?;
        let mut reply = match Reply::outcome("work", value)? {
            Outcome::Done(reply) => reply,
            Outcome::Gone(gone) => return Ok(Err(gone)),
            Outcome::Other(status, _) if status == "taken" => {
                self.taken_over(&plan.member);
                return Ok(Ok(Brought::default()));
            }
            Outcome::Other(..) => return Err(error::nonsense("work")),
        };
        let turn = reply.count()?.unwrap_or(0);
        let (entries, due, more) = (reply.parts()?.rest(), reply.count()?, reply.flag()?);
        let (gap, missed, cut) = (reply.flag()?, reply.count()?, reply.text()?);
        let gap = if gap { Some(self.topic.gap(plan.life, missed, cut.parse().ok())?) } else { None };
        let mark = lease::epoch_of(&reply.text()?).ok_or_else(|| error::nonsense("work"))?;
        let plain = reply.entries()?;
        self.marked.store(number, Ordering::Relaxed);
        Ok(Ok(Brought { epoch: lease::epoch(turn, nonce), entries, mark, plain, due, more, gap }))
    }

    /// The keys of its scripts.
    pub(crate) fn all_keys(&self) -> [&str; 7] {
        let [entries, leases, delayed, ready, lanes] = &self.keys;
        [&self.topic.keys.stream, &self.topic.keys.record, entries, leases, delayed, ready, lanes]
    }

    fn taken_over(&self, member: &str) {
        let mut state = self.state.lock();
        // Unless somebody here has become the consumer meanwhile.
        if state.member == member {
            state.dismiss(&End::Failed(error::taken_over()));
        }
    }

    fn keep_for_later(&self, plan: Plan) {
        let mut state = self.state.lock();
        if state.life != plan.life {
            return;
        }
        state.returns.extend(plan.returns);
        let yielded = plan.starts.into_iter().filter(|(.., yielded)| *yielded);
        let now = Instant::now();
        let earlier = state.starts.len();
        for (id, epoch, ..) in yielded {
            if let Some(held) = state.held.get_mut(&id).filter(|held| held.epoch == epoch) {
                held.told = false;
                state.starts.push_front((id, now));
            }
        }
        if state.starts.len() > earlier {
            state.since = Some(now);
        }
        state.look_at = None;
    }

    fn take_in(&self, brought: Brought, plan: &Plan, asked: Instant) {
        let again = brought.entries.into_iter().filter_map(|entry| taken(entry, brought.epoch));
        let fresh = brought.plain.into_iter().map(|(id, message)| Taken {
            id,
            epoch: brought.mark,
            attempt: 1,
            message: Arc::new(message),
        });
        let taken: Vec<_> = again.chain(fresh).collect();
        let mut state = self.state.lock();
        if state.life != plan.life {
            return;
        }
        for (id, epoch, ..) in plan.starts.iter().filter(|(.., yielded)| !yielded) {
            if let Some(held) =
                state.held.get_mut(id).filter(|held| held.epoch == *epoch && held.yielded.is_none())
            {
                held.until = asked + AHEAD;
            }
        }
        if !taken.is_empty() {
            let bytes: usize = taken.iter().map(|taken| taken.message.weight() + 256).sum();
            state.chunk = (MOST_BYTES * taken.len() / bytes).clamp(1, MOST_CHUNK);
        }
        let full = brought.more && !taken.is_empty();
        let last = taken.iter().map(|taken| taken.id).max();
        state.read_to = state.read_to.max(last.unwrap_or_default());
        if plan.want > 0 && !full {
            // Whatever there was when it was planned: it is with others.
            state.read_to = state.read_to.max(plan.there_is);
        }
        state.hand_on(brought.gap, taken, asked);
        let now = Instant::now();
        let look = LOOK.mul_f64(0.75 + fastrand::f64() / 2.0);
        let due = brought.due.map(|due| Duration::from_millis(due + 1));
        // Whoever rang while this turn was on its way was not answered by it.
        if state.look_at.is_some() {
            state.look_at = if full { None } else { Some(now + due.map_or(look, |due| due.min(look))) };
        }
    }

    /// Goes on with another life of the event after its data were lost, or ends with it.
    async fn recover(&self, node: &Node, plan: &Plan, gone: &Gone) -> Result<()> {
        if gone.was_unregistered(plan.life) {
            self.end(&End::Unregistered);
            return Ok(());
        }
        let renewed = node.renew(&self.topic, plan.life, gone).await;
        let life = match renewed {
            Ok(Some(life)) => life,
            Ok(None) => {
                self.end(&End::Unregistered);
                return Ok(());
            }
            Err(error) if error.kind() == ErrorKind::Unavailable || error.kind() == ErrorKind::Timeout => {
                return Err(error);
            }
            Err(error) => {
                self.end(&End::Failed(error));
                return Ok(());
            }
        };
        let from = crate::topic::From { kind: "beginning", next: EntryId::ZERO, life };
        node.join(&self.topic, &self.group, &self.all_keys(), &from, &plan.member, None).await?;
        tracing::warn!(event = %self.topic.name, group = self.group, "the event's data were lost: the group begins anew");
        let gap = self.topic.gap(life, None, None)?;
        let mut state = self.state.lock();
        state.begin_anew(life);
        for seat in state.seats.values_mut() {
            seat.items.push_back(SeatItem::Gap(gap.clone()));
            seat.wake();
        }
        state.idle.clear();
        Ok(())
    }
}

impl State {
    fn plan(&mut self, now: Instant) -> Next {
        let stale = now >= self.check_at && self.check(now);
        let want = self.demand();
        let told = self.since.is_some_and(|since| since <= now);
        let looks = self.look_at.is_none_or(|at| at <= now) && (want > 0 || self.look_at.is_some());
        let looks = looks || want > 0 && self.is_rung();
        if self.returns.is_empty() && !told && !stale && !looks {
            return Next::Sleep(self.wake_at(now, want));
        }
        let mut plan = Plan {
            life: self.life,
            member: self.member.clone(),
            want,
            there_is: self.there_is,
            chunk: self.chunk,
            ..Plan::default()
        };
        plan.returns = std::mem::take(&mut self.returns);
        self.begin(&mut plan, now);
        if stale {
            let ahead = self.held.iter().filter(|(_, held)| held.yielded.is_none());
            plan.starts.extend(ahead.map(|(id, held)| (*id, held.epoch, AHEAD, false)));
        }
        // Whoever rings from now on is not answered by this turn.
        if want > 0 || self.look_at.is_some() {
            self.look_at = Some(now + LOOK);
        }
        Next::Turn(plan)
    }

    /// Lets go of what ended; answers whether something that was read ahead has to be renewed.
    fn check(&mut self, now: Instant) -> bool {
        let ended: Vec<_> =
            self.held.iter().filter(|(_, held)| held.until <= now).map(|(id, _)| *id).collect();
        ended.into_iter().for_each(|id| self.free(id));
        let ends = self.held.values().map(|held| match held.yielded {
            Some(_) => held.until,
            None => held.until.checked_sub(AHEAD / 2).unwrap_or(now),
        });
        self.check_at = ends.min().unwrap_or(now + Duration::from_secs(3600));
        self.held.values().any(|held| held.yielded.is_none() && held.until <= now + AHEAD / 2)
    }

    /// Has the turn tell of the leases that have to be told by now: most are settled before that.
    fn begin(&mut self, plan: &mut Plan, now: Instant) {
        if self.since.is_none_or(|since| since > now) {
            return;
        }
        self.since = None;
        for (id, told_by) in std::mem::take(&mut self.starts) {
            let Some(held) = self.held.get_mut(&id).filter(|held| held.yielded.is_some() && !held.told)
            else {
                continue;
            };
            if told_by <= now && plan.starts.len() < MOST_STARTS {
                held.told = true;
                let left = held.until.saturating_duration_since(now) + ROUNDED;
                plan.starts.push((id, held.epoch, left, true));
            } else {
                self.since = Some(self.since.map_or(told_by, |since| since.min(told_by)));
                self.starts.push_back((id, told_by));
            }
        }
    }

    /// How many messages the idle can take.
    fn demand(&self) -> usize {
        let seats = self.idle.iter().filter_map(|serial| self.seats.get(serial));
        seats.map(|seat| seat.room().min(PORTION)).sum::<usize>().min(PORTION * 4)
    }

    /// When to plan again if nobody calls.
    fn wake_at(&self, now: Instant, want: usize) -> Instant {
        let look = self.look_at.filter(|_| want > 0 || !self.held.is_empty());
        let ends = Some(self.check_at).filter(|_| !self.held.is_empty());
        look.into_iter().chain(self.since).chain(ends).min().unwrap_or(now + Duration::from_secs(3600))
    }

    /// Deals what came to those who wait, one each, longest first.
    fn hand_on(&mut self, gap: Option<busgate_core::Gap>, taken: Vec<Taken>, asked: Instant) {
        let mut gap = gap;
        let mut left = std::collections::VecDeque::from(taken);
        let mut full = Vec::new();
        while !left.is_empty() || gap.is_some() {
            let Some(serial) = self.idle.pop_front() else { break };
            // If it was ours before, its end was not noticed here yet.
            left.front().map(|taken| taken.id).into_iter().for_each(|id| self.free(id));
            let Some(seat) = self.seats.get_mut(&serial) else { continue };
            if let Some(gap) = gap.take() {
                seat.items.push_back(SeatItem::Gap(gap));
            } else if seat.room() == 0 {
                full.push(serial);
                continue;
            }
            if seat.room() > 0
                && let Some(taken) = left.pop_front()
            {
                let (epoch, attempt, policy) = (taken.epoch, taken.attempt, Arc::clone(&seat.policy));
                let held = super::Held {
                    serial,
                    epoch,
                    until: asked + AHEAD,
                    yielded: None,
                    told: false,
                    attempt,
                    policy,
                };
                self.check_at = self.check_at.min(held.until.checked_sub(AHEAD / 2).unwrap_or(asked));
                self.held.insert(taken.id, held);
                seat.held += 1;
                seat.items.push_back(SeatItem::Taken(taken));
            }
            seat.idle = false;
            self.idle.push_back(serial);
        }
        for serial in full {
            self.idle.push_back(serial);
        }
        let seats = &mut self.seats;
        self.idle.retain(|serial| {
            let woken = seats.get_mut(serial).filter(|seat| !seat.idle);
            woken.map(Seat::wake).is_none()
        });
        // Nobody is there any more to take it.
        self.returns.extend(left.into_iter().map(|taken| (taken.id, taken.epoch)));
    }
}

fn taken(entry: Value, epoch: u64) -> Option<Taken> {
    let mut parts = Reply::new("work", entry).ok()?;
    let (id, attempt) = (parts.id().ok()?, parts.number().ok()?);
    let message = codec::read(id, parts.parts().ok()?.rest());
    Some(Taken { id, epoch, attempt: u32::try_from(attempt).unwrap_or(u32::MAX), message: Arc::new(message) })
}
