//! Settling a delivery that this node has, or whose node is gone.
//!
//! What this node holds for sure is settled by one request to the server. What may have gone to another meanwhile (its
//! lease ran out, its node died, the connection broke) is settled by its record first: whoever writes that wins.

use std::{sync::Arc, time::Duration};

use async_nats::Subject;
use busgate_core::{Effect, Error, MAX_NACK_DELAY, Result, RetryPolicy, Settled, Verb};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    crew::{Crew, Entry, Stand, Wakes, backoff},
    delivery::{DONE, Delivered, IN_PROGRESS, Stamp, again},
    record::Record,
};

/// How often to try against others that write the same record.
const TRIES: usize = 8;

/// How much longer than an answer the word on a nack may take.
const ADVISED: Duration = Duration::from_millis(50);

/// What the server tells everyone of a nack.
#[derive(Deserialize)]
struct Naked {
    stream_seq: u64,
    consumer_seq: u64,
}

/// How long to wait for what ends by itself.
const MOMENT: Duration = Duration::from_millis(2);

/// How a token is settled.
enum Plan {
    /// It says all.
    Answer(Settled),
    /// This node holds it for sure.
    Held(Box<Entry>),
    /// Another may hold it.
    Doubtful(Box<Entry>, Stand),
    /// Its lease has just run out, or something else is being done with it: what it says stands when that is over.
    Later,
}

impl Crew {
    /// Settles a token of this node.
    pub(crate) async fn settle(self: &Arc<Self>, sequence: u64, epoch: u64, verb: &Verb) -> Result<Settled> {
        loop {
            let (was, held, answer) = match self.plan(sequence, epoch, verb) {
                Plan::Later => {
                    sleep(MOMENT).await;
                    continue;
                }
                Plan::Answer(answer) => return Ok(answer),
                Plan::Held(entry) => (entry.stand, entry.epoch(), self.settle_held(&entry, verb).await),
                Plan::Doubtful(entry, was) => (was, epoch, self.settle_by_record(&entry, was, verb).await),
            };
            if answer.is_err() {
                // It is as it was: whoever asks again may be luckier, and its time runs on.
                self.restore(sequence, held, was);
            }
            // It came back to this very node meanwhile, which closed its record on the way: nobody has it yet.
            if matches!(answer, Ok(Settled::Stale)) && self.is_back(sequence, epoch) {
                continue;
            }
            return answer;
        }
    }

    fn is_back(&self, sequence: u64, epoch: u64) -> bool {
        self.state.lock().entry(sequence).is_some_and(|it| it.previous == Some(epoch))
    }

    fn plan(&self, sequence: u64, epoch: u64, verb: &Verb) -> Plan {
        let (now, mut wakes) = (Instant::now(), Wakes::default());
        let mut state = self.state.lock();
        // Every open token of this node is in the state.
        let Some(entry) = state.entry(sequence).cloned() else { return Plan::Answer(Settled::Stale) };
        if entry.epoch() != epoch {
            let is_open = entry.previous == Some(epoch) && self.is_certain(&entry, now);
            return match (entry.stand, verb) {
                (Stand::Admitting | Stand::Busy { .. }, _) if is_open => Plan::Later,
                (Stand::Ready | Stand::Returned { .. }, Verb::Release { .. }) if is_open => {
                    Plan::Answer(Settled::Released)
                }
                // It came back here, nobody took it, and it is back with the server: unless another node gets it first.
                (was @ Stand::Returned { .. }, Verb::Ack | Verb::Nack(_)) if is_open => {
                    Plan::Doubtful(Box::new(entry), was)
                }
                // It came back here, and nobody has taken it: what the last holder says still counts.
                (Stand::Ready, Verb::Ack | Verb::Nack(_)) if is_open => {
                    state.busy(sequence, &mut wakes);
                    Plan::Held(Box::new(entry))
                }
                _ => Plan::Answer(Settled::Stale),
            };
        }
        match entry.stand {
            Stand::Leased { .. } => {
                state.busy(sequence, &mut wakes);
                drop(state);
                if self.is_certain(&entry, now) {
                    Plan::Held(Box::new(entry))
                } else {
                    let was = entry.stand;
                    Plan::Doubtful(Box::new(entry), was)
                }
            }
            Stand::Returned { is_open: true, .. } => match verb {
                Verb::Release { .. } => Plan::Answer(Settled::Released),
                // Nobody has it any more for longer.
                Verb::Extend(_) => Plan::Answer(Settled::Stale),
                _ => {
                    let was = entry.stand;
                    Plan::Doubtful(Box::new(entry), was)
                }
            },
            // An extension, or a try that may fail, is no end: what this one says may count yet.
            Stand::Ending { .. } | Stand::Busy { .. } => Plan::Later,
            _ => Plan::Answer(Settled::Stale),
        }
    }

    fn restore(&self, sequence: u64, epoch: u64, was: Stand) {
        let mut wakes = Wakes::default();
        let mut state = self.state.lock();
        if state
            .entry(sequence)
            .is_some_and(|it| it.epoch() == epoch && matches!(it.stand, Stand::Busy { .. }))
        {
            state.shift(sequence, was, &mut wakes);
        }
        drop(state);
        wakes.wake();
        self.alarm.notify_one();
    }

    async fn settle_held(&self, entry: &Entry, verb: &Verb) -> Result<Settled> {
        let sequence = entry.delivered.stamp.sequence;
        match verb {
            Verb::Ack => {
                self.tell(&entry.reply, DONE).await?;
                self.records.forget(entry.number);
                self.conclude(sequence, None);
                Ok(Settled::Acked)
            }
            Verb::Extend(duration) => {
                self.tell(&entry.reply, IN_PROGRESS).await?;
                self.extend(entry, *duration);
                Ok(Settled::Extended)
            }
            Verb::Release { counted: false } => {
                // Before the server hears of it: it may be back sooner than the answer.
                self.conclude(sequence, Some(Stand::Returned { is_open: true, due: None }));
                let told = self.tell(&entry.reply, again(Duration::ZERO)).await;
                told.map(|()| Settled::Released).map_err(|error| error.with_effect(Effect::Unknown))
            }
            Verb::Release { counted: true } | Verb::Nack(_) => {
                let next = self.next_record(entry, entry.record, verb);
                let subject = self.record_of(sequence);
                match self.records.put(&subject, next, entry.number).await? {
                    Some(number) => self.return_it(entry, next, number, verb).await,
                    None => self.settle_by_record(entry, entry.stand, verb).await,
                }
            }
            Verb::Reject { .. } => Err(Error::unsupported("dead letters are kept by the gateway")),
        }
    }

    /// Settles by the record of the message: whoever writes it first wins.
    async fn settle_by_record(&self, entry: &Entry, was: Stand, verb: &Verb) -> Result<Settled> {
        let (sequence, epoch) = (entry.delivered.stamp.sequence, entry.epoch());
        let subject = self.record_of(sequence);
        for _ in 0..TRIES {
            let (record, number) = self.records.get(&subject).await?;
            if !record.is_open(epoch) {
                if was.is_held() {
                    self.conclude(sequence, Some(Stand::Returned { is_open: false, due: None }));
                }
                return Ok(Settled::Stale);
            }
            if let Verb::Extend(duration) = verb {
                self.tell(&entry.reply, IN_PROGRESS).await?;
                self.extend(entry, *duration);
                return Ok(Settled::Extended);
            }
            let next = match verb {
                Verb::Ack => {
                    Record { is_done: true, delivered: entry.delivered.times, ..record.close(epoch) }
                }
                _ => self.next_record(entry, record, verb),
            };
            let Some(number) = self.records.put(&subject, next, number).await? else { continue };
            if *verb == Verb::Ack {
                // Whatever becomes of this: who gets the message sees that it is done.
                self.tell(&entry.reply, DONE).await?;
                self.conclude(sequence, None);
                return Ok(Settled::Acked);
            }
            return self.return_it(entry, next, number, verb).await;
        }
        Err(Error::unavailable("other nodes settle the same message"))
    }

    fn next_record(&self, entry: &Entry, record: Record, verb: &Verb) -> Record {
        let (epoch, delivered) = (entry.epoch(), entry.delivered.times);
        match verb {
            // What ran out before is counted already.
            Verb::Nack(_) if entry.stand == Stand::Ready => Record { delivered, ..record.close(epoch) },
            Verb::Nack(_) => Record { delivered, ..record.count(epoch).close(epoch) },
            Verb::Release { counted: true } => Record { delivered, is_closed: false, ..record.count(epoch) },
            _ => Record { delivered, is_closed: false, ..record },
        }
    }

    /// Gives it back to the server, now that its record says how it ended.
    async fn return_it(&self, entry: &Entry, record: Record, number: u64, verb: &Verb) -> Result<Settled> {
        let sequence = entry.delivered.stamp.sequence;
        let (delay, is_open, settled) = match verb {
            Verb::Nack(nack) => {
                let by_schedule = || match &entry.policy {
                    Some(policy) => backoff(policy, record.attempts(), entry.epoch()),
                    None => backoff(&RetryPolicy::default(), record.attempts(), entry.epoch()),
                };
                let delay = nack.delay.unwrap_or_else(by_schedule).min(MAX_NACK_DELAY);
                (delay, false, Settled::Nacked)
            }
            _ => (Duration::ZERO, true, Settled::Released),
        };
        let due = Some(Instant::now() + delay);
        if let Some(known) = self.state.lock().entry_mut(sequence) {
            (known.record, known.number, known.message) = (record, number, None);
        }
        // Before the server hears of it: it may be back sooner than the answer. Not told, the server gives it back when
        // it does not hear of it: later than asked for, but never sooner.
        self.conclude(sequence, Some(Stand::Returned { is_open, due }));
        let told = self.tell(&entry.reply, again(delay)).await;
        told.map(|()| settled).map_err(|error| error.with_effect(Effect::Unknown))
    }

    /// Tells the server, and waits until it has heard.
    async fn tell(&self, reply: &Subject, what: Bytes) -> Result<()> {
        self.link.ask(reply.clone(), what).await.map(drop)
    }

    /// The end of a delivery: it went back, or is done.
    fn conclude(&self, sequence: u64, to: Option<Stand>) {
        let mut wakes = Wakes::default();
        let mut state = self.state.lock();
        match to {
            Some(stand) => state.shift(sequence, stand, &mut wakes),
            None => state.finish(sequence, &mut wakes),
        }
        let unread = state.unread(&mut wakes);
        drop(state);
        wakes.wake();
        unread.into_iter().for_each(|entry| self.send_back(entry.reply));
        self.alarm.notify_one();
    }

    /// The lease runs on, from now.
    fn extend(&self, entry: &Entry, duration: Duration) {
        let (now, mut wakes) = (Instant::now(), Wakes::default());
        let deadline = now + duration.min(busgate_core::ACK_WAIT_RANGE.1);
        let sequence = entry.delivered.stamp.sequence;
        let mut state = self.state.lock();
        if state.entry(sequence).is_some_and(|it| it.epoch() == entry.epoch()) {
            let member = entry.stand.member().unwrap_or_default();
            state.touch(now, sequence);
            state.shift(sequence, Stand::Leased { member, deadline }, &mut wakes);
        } else {
            state.adopt(Entry { touched: now, ..entry.clone() }, deadline, &mut wakes);
        }
        drop(state);
        wakes.wake();
        self.alarm.notify_one();
    }

    /// Settles a token of a node that is gone.
    pub(crate) async fn settle_orphan(
        self: &Arc<Self>,
        sequence: u64,
        epoch: u64,
        verb: &Verb,
    ) -> Result<Settled> {
        let known = self.state.lock().entry(sequence).cloned();
        let entry = match known {
            // It was extended here, or delivered here since.
            Some(known) if known.epoch() == epoch => return self.settle(sequence, epoch, verb).await,
            Some(known) if known.epoch() > epoch && known.stand.is_held() => return Ok(Settled::Stale),
            _ => self.orphan(sequence, epoch),
        };
        if !self.is_pending(&entry).await? {
            return Ok(Settled::Stale);
        }
        self.settle_by_record(&entry, entry.stand, verb).await
    }

    /// Whether the server still waits for the end of a delivery. No call tells; but of a nack it tells everyone, and only
    /// when it does. Its delay is what the server waits anyway, so that it changes nothing.
    async fn is_pending(&self, entry: &Entry) -> Result<bool> {
        let (stream, consumer) = (&self.event.stream, &self.consumer);
        let advisories = format!("$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED.{stream}.{consumer}");
        let mut advisories = self.link.subscribe(advisories).await?;
        self.tell(&entry.reply, again(self.ack_wait())).await?;
        // It was said before the answer; only its way here may be longer.
        let said = async {
            while let Some(message) = advisories.next().await {
                let naked = serde_json::from_slice::<Naked>(&message.payload);
                let wanted = (entry.delivered.stamp.sequence, entry.epoch());
                if naked.is_ok_and(|naked| (naked.stream_seq, naked.consumer_seq) == wanted) {
                    return true;
                }
            }
            false
        };
        Ok(timeout(ADVISED, said).await.unwrap_or(false))
    }

    /// A delivery as far as its token tells: how often there were others before is not known.
    fn orphan(&self, sequence: u64, epoch: u64) -> Entry {
        let (stream, consumer) = (&self.event.stream, &self.consumer);
        let published = busgate_core::Timestamp::default();
        Entry {
            delivered: Delivered { stamp: Stamp { sequence, published }, times: 0, epoch, pending: 0 },
            reply: format!("$JS.ACK.{stream}.{consumer}.1.{sequence}.{epoch}.0.0").into(),
            record: Record::default(),
            number: 0,
            touched: Instant::now(),
            generation: u64::MAX,
            stand: Stand::Returned { is_open: true, due: None },
            previous: None,
            message: None,
            policy: None,
        }
    }
}
