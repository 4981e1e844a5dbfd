//! Random operations on a worker group, held against a small model of what may happen.
//!
//! A broken run tells its seed and its last steps; `Pace::seeds` runs that seed again.

use std::{collections::BTreeMap, time::Duration};

use busgate_core::{Delivery, EventName, LeaseToken, Nack, Settled, SubscribeOptions, Verb};
use tokio::time::Instant;

use crate::{
    Broken, Claim, Stage, Stop, Verdict, Watch,
    ask::{self, Asking},
    seed::Seed,
    watch::token,
};

const STEPS: usize = 150;
const CLAIMS: [Claim; 3] = [Claim::WorkerPool, Claim::Redelivery, Claim::DelayedRequeue];

/// catches: whatever order of publishing, taking, settling, expiring, leaving and joining was not thought of.
pub async fn work_agrees_with_the_model(stage: Stage) -> Verdict {
    run_seeds(stage, false).await
}

/// catches: whatever a restart in the midst of all that loses, doubles or brings back.
pub async fn work_with_restarts_agrees_with_the_model(stage: Stage) -> Verdict {
    let restarts = stage.capabilities().durable;
    run_seeds(stage, restarts).await
}

async fn run_seeds(stage: Stage, restarts: bool) -> Verdict {
    if !stage.claims(&CLAIMS).await? {
        return Ok(());
    }
    let (count, first) = stage.pace().seeds;
    let mut stage = stage;
    for seed in first..first + count {
        let world = World::new(stage, seed).await?;
        stage = world.run(restarts).await?;
    }
    Ok(())
}

/// What the model knows of one message.
#[derive(Debug)]
struct Fate {
    nth: usize,
    key: Option<String>,
    /// Deliveries that count.
    attempts: u32,
    /// Whether a restart leaves open if the last one counts.
    vague: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    /// With the transport.
    There,
    /// In our hands until then; `None` when a restart may have ended that.
    Held(LeaseToken, Option<Instant>),
    Done,
}

struct World {
    stage: Stage,
    number: u64,
    seed: Seed,
    event: EventName,
    options: SubscribeOptions,
    members: Vec<Watch>,
    fates: BTreeMap<String, Fate>,
    retired: Vec<LeaseToken>,
    trace: Vec<String>,
}

impl World {
    async fn new(stage: Stage, number: u64) -> Verdict<Self> {
        let event = stage.event().await?;
        let options = ask::pool()?.lease(stage.pace().short).window(4).tries(10_000);
        let members = vec![stage.subscribe(&event, options.clone()).await?];
        let (seed, fates, retired, trace) = (Seed::new(number), BTreeMap::new(), Vec::new(), Vec::new());
        Ok(Self { stage, number, seed, event, options, members, fates, retired, trace })
    }

    async fn run(mut self, restarts: bool) -> Verdict<Stage> {
        for _ in 0..STEPS {
            if restarts && self.seed.chance(3) {
                self = self.restart().await?;
            }
            let stepped = self.step().await;
            stepped.map_err(|broken| self.told(&broken))?;
        }
        let finished = self.finish().await;
        finished.map_err(|broken| self.told(&broken))?;
        Ok(self.stage)
    }

    fn told(&self, broken: &Broken) -> Broken {
        let last = self.trace.iter().rev().take(40).rev().cloned().collect::<Vec<_>>().join("\n  ");
        Broken::new(format!("seed {}: {broken}; the last steps were\n  {last}\n", self.number))
    }

    fn tell(&mut self, step: impl Into<String>) {
        self.trace.push(step.into());
    }

    async fn step(&mut self) -> Verdict {
        match self.seed.below(100) {
            0..=17 => self.publish().await,
            18..=54 => self.take(self.stage.pace().quiet / 50).await.map(drop),
            55..=69 => self.settle(Verb::Ack).await,
            70..=77 => self.settle(nack(Duration::ZERO)).await,
            78..=81 => self.settle(nack(self.stage.pace().short / 4)).await,
            82..=85 => self.settle(Verb::Release { counted: false }).await,
            86..=87 => self.settle(Verb::Release { counted: true }).await,
            88..=90 => self.settle_retired().await,
            91..=93 => self.join().await,
            94..=96 => self.leave(),
            _ => self.wait().await,
        }
    }

    async fn publish(&mut self) -> Verdict {
        let mut batch = Vec::new();
        for _ in 0..=self.seed.below(3) {
            let nth = self.fates.len();
            let id = format!("m{nth:04}");
            let key = self.seed.chance(50).then(|| format!("k{}", self.seed.below(3)));
            batch.push(busgate_core::Message { key: key.clone(), ..self.stage.message(&id)? });
            self.tell(format!("publish {id} under {key:?}"));
            self.fates.insert(id, Fate { nth, key, attempts: 0, vague: false, state: State::There });
        }
        self.stage.publish_batch(&self.event, batch).await.map(drop)
    }

    /// Takes one delivery from some member; whether there was one.
    async fn take(&mut self, patience: Duration) -> Verdict<bool> {
        let at = self.seed.below(self.members.len());
        let Some(member) = self.members.get_mut(at) else { return Ok(false) };
        let Some(delivery) = member.delivery_within(patience).await? else { return Ok(false) };
        self.tell(format!("member {at} takes {} attempt {}", delivery.message.id, delivery.attempt));
        self.check(&delivery)?;
        Ok(true)
    }

    fn check(&mut self, delivery: &Delivery) -> Verdict {
        let (now, id) = (Instant::now(), delivery.message.id.as_str());
        let blocked = self.blocked_by(id);
        let lease = self.options.retry.ack_wait;
        let early = self.stage.pace().early;
        let Some(fate) = self.fates.get_mut(id) else {
            return Err(Broken::new(format!("`{id}` was never published")));
        };
        ensure!(blocked.is_none(), "`{id}` overtakes {blocked:?} of its key");
        match &fate.state {
            State::Done => ensure!(false, "`{id}` is done, and comes back"),
            State::Held(_, Some(until)) => {
                ensure!(
                    now + early >= *until,
                    "`{id}` is held for another {:?}, and comes back",
                    *until - now
                );
            }
            State::Held(_, None) | State::There => {}
        }
        let wanted = fate.attempts + 1;
        let fits = delivery.attempt == wanted || (fate.vague && delivery.attempt + 1 == wanted);
        ensure!(fits, "`{id}` comes as attempt {} where {wanted} is due", delivery.attempt);
        fate.attempts = delivery.attempt;
        fate.vague = false;
        let held = State::Held(token(delivery)?, Some(now + lease));
        if let State::Held(old, _) = std::mem::replace(&mut fate.state, held) {
            self.retired.push(old);
        }
        Ok(())
    }

    /// The earlier message of its key that is not done.
    fn blocked_by(&self, id: &str) -> Option<String> {
        let fate = self.fates.get(id)?;
        let key = fate.key.as_ref().filter(|_| self.stage.capabilities().ordered_keys)?;
        let mut earlier =
            self.fates.iter().filter(|(_, other)| other.nth < fate.nth && other.key.as_ref() == Some(key));
        earlier.find(|(_, other)| !matches!(other.state, State::Done)).map(|(id, _)| id.clone())
    }

    fn held(&mut self) -> Option<String> {
        let held = self.fates.iter().filter(|(_, fate)| matches!(fate.state, State::Held(..)));
        let held: Vec<_> = held.map(|(id, _)| id.clone()).collect();
        self.seed.pick(&held).cloned()
    }

    async fn settle(&mut self, verb: Verb) -> Verdict {
        let Some(id) = self.held() else { return Ok(()) };
        let Some(fate) = self.fates.get_mut(&id) else { return Ok(()) };
        let State::Held(token, until) = std::mem::replace(&mut fate.state, State::There) else {
            return Ok(());
        };
        let settled = self.stage.settle(&token, verb.clone()).await?;
        // Past its end a lease may be on its way to the next taker already.
        let running = until.is_some_and(|until| Instant::now() + self.stage.pace().slack < until);
        let wanted = match &verb {
            Verb::Ack => Settled::Acked,
            Verb::Release { .. } => Settled::Released,
            _ => Settled::Nacked,
        };
        let fits = settled == wanted || (!running && matches!(settled, Settled::Stale | Settled::Unknown));
        ensure!(fits, "{verb:?} of `{id}` answered {settled:?}");
        if settled == Settled::Acked {
            fate.state = State::Done;
        }
        if settled == Settled::Released && verb == (Verb::Release { counted: false }) {
            // Past its end, a lease may have been counted for good.
            fate.vague = !running;
            fate.attempts -= u32::from(running);
        }
        if !matches!(verb, Verb::Release { .. }) {
            self.retired.push(token);
        }
        self.tell(format!("{verb:?} of {id}: {settled:?}"));
        Ok(())
    }

    async fn settle_retired(&mut self) -> Verdict {
        let Some(token) = self.seed.pick(&self.retired).cloned() else { return Ok(()) };
        let verb = if self.seed.chance(50) { Verb::Ack } else { nack(Duration::ZERO) };
        let settled = self.stage.settle(&token, verb.clone()).await?;
        self.tell(format!("{verb:?} of retired {token:?}: {settled:?}"));
        ensure_matches!(settled, Settled::Stale | Settled::Unknown, "a token of an earlier epoch");
        Ok(())
    }

    async fn join(&mut self) -> Verdict {
        if self.members.len() < 4 {
            self.tell("a member joins");
            self.members.push(self.stage.subscribe(&self.event, self.options.clone()).await?);
        }
        Ok(())
    }

    fn leave(&mut self) -> Verdict {
        if self.members.len() > 1 {
            let at = self.seed.below(self.members.len());
            self.tell(format!("member {at} leaves"));
            self.members.swap_remove(at);
        }
        Ok(())
    }

    async fn wait(&mut self) -> Verdict {
        self.tell("all leases run out");
        self.stage.pass(self.options.retry.ack_wait + self.stage.pace().slack).await;
        Ok(())
    }

    async fn restart(mut self) -> Verdict<Self> {
        let stop = if self.seed.chance(50) { Stop::Kill } else { Stop::Close };
        self.tell(format!("restart by {stop:?}"));
        self.members.clear();
        for fate in self.fates.values_mut() {
            if let State::Held(_, until) = &mut fate.state {
                *until = None;
                fate.vague = true;
            }
        }
        let Some(stage) = self.stage.reopen(stop).await else {
            return Err(Broken::new("claims `durable`, but the harness can't open it again"));
        };
        self.stage = stage;
        self.members.push(self.stage.subscribe(&self.event, self.options.clone()).await?);
        Ok(self)
    }

    /// Everything that was published gets done in the end, and then nothing comes any more.
    async fn finish(&mut self) -> Verdict {
        let started = Instant::now();
        loop {
            while self.held().is_some() {
                self.settle(Verb::Ack).await?;
            }
            let undone = self.fates.iter().find(|(_, fate)| !matches!(fate.state, State::Done));
            let Some((id, fate)) = undone else { break };
            let patience = self.stage.pace().patience + self.stage.pace().short * 8;
            ensure!(started.elapsed() < patience, "`{id}` never came: {fate:?}");
            self.take(self.stage.pace().quiet / 10).await?;
        }
        for member in &mut self.members {
            member.quiet_for(self.stage.pace().quiet / 5).await?;
        }
        Ok(())
    }
}

const fn nack(delay: Duration) -> Verb {
    Verb::Nack(Nack { delay: Some(delay), error: None })
}
