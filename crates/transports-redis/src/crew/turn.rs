//! The turns of a crew: each gives back, starts leases, and takes messages in one call.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use busgate_core::{ErrorKind, Message, Result};
use redis::{Cmd, Value};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    AHEAD, Crew, End, LOOK, SeatItem, Taken,
    plan::{Next, Plan},
};
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
        let mut taken: Vec<_> = again.chain(fresh).collect();
        // What came back is older than what is fresh; among the fresh, those with a key are told apart from the others.
        taken.sort_by_key(|taken| taken.id);
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
        let last = taken.last().map(|taken| taken.id);
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

fn taken(entry: Value, epoch: u64) -> Option<Taken> {
    let mut parts = Reply::new("work", entry).ok()?;
    let (id, attempt) = (parts.id().ok()?, parts.number().ok()?);
    let message = codec::read(id, parts.parts().ok()?.rest());
    Some(Taken { id, epoch, attempt: u32::try_from(attempt).unwrap_or(u32::MAX), message: Arc::new(message) })
}
