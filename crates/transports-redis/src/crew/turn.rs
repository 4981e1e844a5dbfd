//! The turns of a crew: each gives back, starts leases, and takes messages in one call.

use std::{
    future::ready,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use busgate_core::{ErrorKind, Message, Result};
use futures_util::{StreamExt, future::Either, stream::FuturesOrdered};
use redis::{Cmd, Value};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    AHEAD, Crew, End, LOOK, SeatItem, Taken,
    plan::{Next, Plan},
};
use crate::{
    codec, error,
    id::EntryId,
    lease,
    link::Line,
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
pub(super) struct Brought {
    epoch: u64,
    entries: Vec<Value>,
    /// Those that have no entry of their own.
    pub(super) run: Vec<(EntryId, Message)>,
    due: Option<u64>,
    pub(super) more: bool,
    gap: Option<busgate_core::Gap>,
}

/// How many turns are on their way at once.
const TURNS: usize = 4;

/// The pauses after a turn that failed: the shortest, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A turn that was answered: what it was to do, when it was asked for, and what it brought.
type Turn = (Plan, Instant, Result<Result<Brought, Gone>>);

/// Takes turns until nobody is left.
pub(super) async fn run(node: Arc<Node>, crew: Arc<Crew>) {
    let (mut under_way, mut pause) = (FuturesOrdered::new(), PAUSES.0);
    loop {
        while under_way.len() < TURNS
            && !under_way.is_empty()
            && let Some((plan, line)) = crew.plan_beside(&node)
        {
            under_way.push_back(begun(crew.turn(&node, plan, Some(line))).await);
        }
        if under_way.is_empty() {
            match crew.plan(Instant::now()) {
                Next::Over => return,
                Next::Turn(plan) => {
                    under_way.push_back(begun(crew.turn(&node, plan, None)).await);
                }
                Next::Sleep(until) => tokio::select! {
                    () = crew.alarm.notified() => {}
                    () = sleep_until(until) => {}
                },
            }
            continue;
        }
        let turn = tokio::select! {
            Some(turn) = under_way.next() => turn,
            () = crew.alarm.notified() => continue,
        };
        if crew.finish(&node, turn).await {
            pause = PAUSES.0;
            continue;
        }
        // What else is on its way went the same way, and nothing goes beside it.
        while let Some(turn) = under_way.next().await {
            crew.finish(&node, turn).await;
        }
        if node.link.is_closed() {
            crew.end(&End::Failed(error::closed()));
            return;
        }
        sleep(pause.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// A call that was polled: with a line to go on it is on its way.
async fn begun<F: Future>(call: F) -> impl Future<Output = F::Output> {
    let mut call = Box::pin(call);
    match futures_util::poll!(&mut call) {
        Poll::Ready(done) => Either::Left(ready(done)),
        Poll::Pending => Either::Right(call),
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

    /// A turn beside those that are on their way, when they are on the same connection and it has answered one before.
    fn plan_beside(&self, node: &Node) -> Option<(Plan, Line)> {
        let line = node.link.line_now()?;
        if self.answered_on.load(Ordering::Relaxed) != line.number {
            return None;
        }
        Some((self.state.lock().plan_beside(Instant::now())?, line))
    }

    async fn turn(&self, node: &Node, plan: Plan, line: Option<Line>) -> Turn {
        let asked = Instant::now();
        let outcome = self.work(node, &plan, line).await;
        (plan, asked, outcome)
    }

    /// Does what follows from a turn; answers whether the next may follow at once.
    async fn finish(&self, node: &Node, (plan, asked, outcome): Turn) -> bool {
        self.state.lock().turns -= usize::from(plan.want > 0);
        match outcome {
            Ok(Ok(brought)) => {
                self.take_in(brought, &plan, asked);
                true
            }
            Ok(Err(gone)) => match self.recover(node, &plan, &gone).await {
                Ok(()) => true,
                Err(error) => {
                    tracing::debug!(%error, group = self.group, "a group can't go on yet");
                    self.state.lock().asked(&plan);
                    false
                }
            },
            Err(error) => {
                tracing::debug!(%error, event = %self.topic.name, group = self.group, "a turn of the group failed");
                self.keep_for_later(plan);
                false
            }
        }
    }

    async fn work(&self, node: &Node, plan: &Plan, line: Option<Line>) -> Result<Result<Brought, Gone>> {
        let beside = line.is_some();
        let line = match line {
            Some(line) => line,
            None => node.link.line().await?,
        };
        let number = line.number;
        let nonce = lease::nonce();
        let arguments = |command: &mut Cmd| {
            command.arg(self.topic.mapped_flag()).arg(format!("{:x}", plan.life)).arg(&self.group);
            command
                .arg(format!("busgate-{:x}", node.id))
                .arg(nonce)
                .arg(plan.want)
                .arg(MOST_BYTES)
                .arg(MOST_PARKED);
            command.arg(AHEAD.as_millis()).arg(&self.topic.keys.channel).arg(&plan.member).arg(&self.group);
            command.arg(&node.name).arg(plan.chunk).arg(u8::from(plan.keyed));
            command.arg(plan.returns.len()).arg(plan.starts.len());
            for (id, epoch) in &plan.returns {
                command.arg(*id).arg(lease::epoch_text(*epoch));
            }
            for (id, epoch, left, yielded) in &plan.starts {
                command.arg(*id).arg(lease::epoch_text(*epoch)).arg(left.as_millis());
                command.arg(if *yielded { "l" } else { "b" });
            }
        };
        let keys = self.all_keys();
        let call = script::WORK.call(&keys, arguments);
        let value = if beside {
            let value = node.link.run_beside(line, call).await?;
            value.ok_or_else(|| error::unreachable("redis has forgotten a script"))?
        } else {
            node.link.run_on(line, call).await?
        };
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
        let (mut run, mut parts) = (Vec::new(), reply.parts()?);
        while parts.len() > 0 {
            run.extend(parts.entries()?);
        }
        self.answered_on.store(number, Ordering::Relaxed);
        Ok(Ok(Brought { epoch: lease::epoch(turn, nonce), entries, run, due, more, gap }))
    }

    /// The keys of its scripts.
    pub(crate) fn all_keys(&self) -> [&str; 8] {
        self.topic.keys.all(&self.keys)
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
        state.asked(&plan);
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

    pub(super) fn take_in(&self, brought: Brought, plan: &Plan, asked: Instant) {
        let again = brought.entries.into_iter().filter_map(|entry| taken(entry, brought.epoch));
        let fresh = brought.run.into_iter().enumerate().map(|(place, (id, message))| Taken {
            id,
            epoch: brought.epoch,
            attempt: 1,
            place: u16::try_from(place).ok(),
            message: Arc::new(message),
        });
        let mut taken: Vec<_> = again.chain(fresh).collect();
        // What came back is older than what is fresh; among the fresh, those with a key are told apart from the others.
        taken.sort_by_key(|taken| taken.id);
        let mut state = self.state.lock();
        if state.life != plan.life {
            return;
        }
        state.asked(plan);
        for (id, epoch, _, yielded) in &plan.starts {
            let Some(held) = state.held.get_mut(id).filter(|held| held.epoch == *epoch) else { continue };
            // It has an entry of its own now.
            held.place = None;
            if !yielded && held.yielded.is_none() {
                held.until = asked + AHEAD;
            }
        }
        if !taken.is_empty() {
            let bytes: usize = taken.iter().map(|taken| taken.message.weight() + 256).sum();
            state.keyed = taken.iter().any(|taken| taken.message.key.is_some());
            state.chunk = (MOST_BYTES * taken.len() / bytes).clamp(1, MOST_CHUNK);
        }
        let full = brought.more && !taken.is_empty();
        state.backlog = full;
        if plan.want > 0 {
            state.through = !brought.more;
        }
        let last = taken.last().map(|taken| taken.id);
        state.read_to = state.read_to.max(last.unwrap_or_default());
        state.hand_on(brought.gap, taken, &plan.seats, asked);
        let now = Instant::now();
        let look = LOOK.mul_f64(0.75 + fastrand::f64() / 2.0);
        let due = brought.due.map(|due| Duration::from_millis(due + 1));
        // Whoever rang while this turn was on its way was not answered by it; what it brought back is ready, and not taken.
        if plan.yields {
            state.look_at = None;
        } else if state.look_at.is_some() {
            state.look_at = if full { None } else { Some(now + due.map_or(look, |due| due.min(look))) };
        }
    }

    /// Goes on with another life of the event after its data were lost, or ends with it.
    async fn recover(&self, node: &Node, plan: &Plan, gone: &Gone) -> Result<()> {
        if self.state.lock().life != plan.life {
            // A turn before it has found out.
            return Ok(());
        }
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
    Some(Taken {
        id,
        epoch,
        attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
        place: None,
        message: Arc::new(message),
    })
}
