//! Laws of commits over random histories of acks, nacks, expiry, crashes and rebalances.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use busgate_core::{Message, MessageId, Nack, Outcome, RetryPolicy, Slot, Taken, Verb};
use proptest::prelude::*;

use super::*;

const MESSAGES: u64 = 60;

fn author(generation: u32) -> Author {
    Author { life: u64::MAX - 7, generation }
}

/// One partition, the group over it, and what the broker knows of it.
#[derive(Debug)]
struct World {
    group: Group,
    generation: u32,
    now: Moment,
    policy: Arc<RetryPolicy>,
    messages: Vec<Arc<Message>>,
    limit: usize,
    /// What the broker has.
    commit: Commit,
    /// Acked, but in no commit that is answered.
    pending: BTreeSet<u64>,
    answered: BTreeSet<u64>,
    /// Attempts of unfinished messages, as the last commit that covers them told them.
    told: BTreeMap<u64, u32>,
    held: Vec<Taken>,
}

impl World {
    fn new(keys: &[u8], limit: usize) -> Self {
        let messages = (0..MESSAGES).map(|offset| {
            let mut message = Message::new(MessageId::new(format!("m{offset}")).unwrap(), "x");
            let key = keys[offset as usize % keys.len()];
            message.key = (key > 0).then(|| key.to_string());
            Arc::new(message)
        });
        let now = Moment { at: Instant::now(), wall: Timestamp::from_millis(1_700_000_000_123) };
        let policy = RetryPolicy { max_deliver: u32::MAX, ..RetryPolicy::default() };
        let group = Group::new(0, 1).with_confirmed_order();
        let commit = write(&group, author(1), now, limit).unwrap();
        Self {
            group,
            generation: 1,
            now,
            policy: Arc::new(policy),
            messages: messages.collect(),
            limit,
            commit,
            pending: BTreeSet::new(),
            answered: BTreeSet::new(),
            told: BTreeMap::new(),
            held: Vec::new(),
        }
    }

    fn take(&mut self) -> Option<Taken> {
        let (messages, reach) = (&self.messages, reach(&self.group, self.limit));
        let source = |offset: u64| {
            let message = messages.get(offset as usize).filter(|_| offset < reach);
            message.map_or(Slot::End, |message| Slot::Message(Arc::clone(message)))
        };
        let taken = self.group.take(self.now, 1, &self.policy, source)?;
        assert!(!self.answered.contains(&taken.offset), "{} is done, and comes again", taken.offset);
        let told = self.told.get(&taken.offset).copied().unwrap_or(0);
        assert!(
            taken.attempt >= told || self.limit < MAX_METADATA,
            "attempt {} of {} was {told} before",
            taken.attempt,
            taken.offset
        );
        let key = &self.messages[taken.offset as usize].key;
        if key.is_some() {
            let earlier = (0..taken.offset).filter(|offset| self.messages[*offset as usize].key == *key);
            for offset in earlier {
                assert!(self.answered.contains(&offset), "{} overtakes {offset}", taken.offset);
            }
        }
        self.held.push(taken.clone());
        Some(taken)
    }

    fn settle(&mut self, pick: usize, verb: &Verb) {
        if self.held.is_empty() {
            return;
        }
        let taken = self.held.swap_remove(pick % self.held.len());
        let outcome = self.group.settle(self.now, taken.offset, taken.epoch, verb, 0.5);
        if outcome == Outcome::Acked {
            self.pending.insert(taken.offset);
        }
    }

    /// A commit that the broker answers.
    fn commit(&mut self) {
        let mark = self.group.settled();
        let commit = write(&self.group, author(self.generation), self.now, self.limit);
        self.commit = commit.expect("there is always room");
        assert!(self.commit.metadata.len() <= self.limit, "{} bytes", self.commit.metadata.len());
        let lowest = (0..).find(|offset| !self.pending.contains(offset) && !self.answered.contains(offset));
        assert!(self.commit.offset <= lowest.unwrap(), "{} is committed", self.commit.offset);
        self.answered.append(&mut self.pending);
        self.told.extend(self.group.unfinished().map(|known| (known.offset, known.attempts)));
        self.group.confirm(mark);
    }

    /// Another owner goes on from what the broker has.
    fn next_owner(&mut self) {
        let Commit { offset, metadata, .. } = &self.commit;
        let handover = read(*offset, metadata, self.now).unwrap();
        assert_eq!(handover.author.life, author(0).life);
        self.generation = self.generation.max(handover.author.generation) + 1;
        self.group = Group::resume(handover.frontier, self.generation, &self.policy, handover.unfinished)
            .with_confirmed_order();
        self.pending.clear();
        self.commit();
    }

    fn pass(&mut self, by: Duration) {
        self.now.at += by;
        self.now.wall = self.now.wall.plus(by);
        assert!(self.group.expire(self.now.at).is_empty());
    }

    /// Everything gets done in the end.
    fn finish(&mut self) {
        for _ in 0..MESSAGES * 8 {
            while self.take().is_some() {
                let last = self.held.len() - 1;
                self.settle(last, &Verb::Ack);
            }
            self.commit();
            self.pass(Duration::from_secs(40));
        }
        assert_eq!(self.answered.len() as u64, MESSAGES, "{:?} are done", self.answered);
        assert_eq!(self.commit.offset, MESSAGES);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Take,
    Ack(usize),
    Nack(usize, u64),
    Release(usize, bool),
    Pass(u64),
    Commit,
    Crash,
    Rebalance,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Take),
        6 => any::<usize>().prop_map(Step::Ack),
        2 => (any::<usize>(), 0..20_000_u64).prop_map(|(pick, delay)| Step::Nack(pick, delay)),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(pick, counted)| Step::Release(pick, counted)),
        1 => (1..35_000_u64).prop_map(Step::Pass),
        3 => Just(Step::Commit),
        1 => Just(Step::Crash),
        1 => Just(Step::Rebalance),
    ]
}

fn run(world: &mut World, steps: Vec<Step>) {
    for step in steps {
        match step {
            Step::Take => drop(world.take()),
            Step::Ack(pick) => world.settle(pick, &Verb::Ack),
            Step::Nack(pick, delay) => {
                let delay = Some(Duration::from_millis(delay));
                world.settle(pick, &Verb::Nack(Nack { delay, error: None }));
            }
            Step::Release(pick, counted) => world.settle(pick, &Verb::Release { counted }),
            Step::Pass(millis) => world.pass(Duration::from_millis(millis)),
            Step::Commit => world.commit(),
            Step::Crash => world.next_owner(),
            Step::Rebalance => {
                world.commit();
                world.next_owner();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_was_answered_never_comes_back(
        keys in prop::collection::vec(0..4_u8, 1..8),
        limit in prop_oneof![Just(MAX_METADATA), 64..160_usize],
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(&keys, limit);
        run(&mut world, steps);
        world.finish();
    }

    #[test]
    fn a_commit_reads_back(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new(&[0, 1], MAX_METADATA);
        run(&mut world, steps);
        let commit = write(&world.group, author(9), world.now, MAX_METADATA).unwrap();
        let handover = read(commit.offset, &commit.metadata, world.now).unwrap();
        prop_assert_eq!(handover.author, author(9));
        let known: Vec<_> = world.group.unfinished().filter(|known| known.offset < handover.frontier).collect();
        prop_assert_eq!(handover.unfinished.len(), known.len());
        for (read, known) in handover.unfinished.iter().zip(known) {
            prop_assert_eq!((read.offset, read.attempts), (known.offset, known.attempts));
            prop_assert_eq!((read.epoch, read.open), (known.epoch, known.open));
            let (found, wanted) = match (read.standing, known.standing) {
                (Standing::Waiting(read), Standing::Waiting(known)) => (read, known),
                (Standing::Leased(read), Standing::Leased(known)) => (read, known),
                (read, known) => {
                    prop_assert_eq!(read, known);
                    continue;
                }
            };
            let step = Duration::from_millis(STEP_MS as u64 + 2);
            prop_assert!(found + Duration::from_millis(2) >= wanted && found <= wanted + step);
        }
    }

    #[test]
    fn what_others_wrote_means_nothing(text in ".{0,80}", bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let now = Moment { at: Instant::now(), wall: Timestamp::from_millis(5) };
        prop_assert_eq!(read(7, &text, now), None);
        // Whatever bytes say, it must not take the reader down.
        drop(read(u64::MAX - 3, &encode(&bytes), now));
    }

    #[test]
    fn text_reads_back(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
    }
}

/// A group whose first `count` messages were delivered, and those acked that `is_done` tells.
fn acked(count: usize, is_done: impl Fn(u64) -> bool) -> (Group, Moment) {
    let now = Moment { at: Instant::now(), wall: Timestamp::from_millis(1_700_000_000_000) };
    let policy = Arc::new(RetryPolicy::default());
    let mut group = Group::new(0, 7);
    let message = Arc::new(Message::new(MessageId::new("m").unwrap(), "x"));
    for _ in 0..count {
        let reach = reach(&group, MAX_METADATA);
        let source = |offset| if offset < reach { Slot::Message(Arc::clone(&message)) } else { Slot::End };
        let Some(taken) = group.take(now, 1, &policy, source) else { break };
        if is_done(taken.offset) {
            group.settle(now, taken.offset, taken.epoch, &Verb::Ack, 0.5);
        }
    }
    (group, now)
}

#[test]
fn many_finished_messages_above_a_slow_one_take_a_few_bytes() {
    let (group, now) = acked(40_000, |offset| offset != 0);
    assert_eq!(group.frontier(), 40_000);
    let commit = write(&group, author(7), now, MAX_METADATA).unwrap();
    assert!(commit.offset == 0 && commit.metadata.len() < 60, "{}", commit.metadata);
}

#[test]
fn there_is_always_room() {
    let patterns: [fn(u64) -> bool; 4] =
        [|_| false, |offset| offset % 2 == 0, |offset| offset % 5 != 0, |offset| offset % 3001 != 0];
    for is_done in patterns {
        let (group, now) = acked(40_000, is_done);
        assert!(group.frontier() > 20_000, "{} are enough to stop", group.frontier());
        let commit = write(&group, author(7), now, MAX_METADATA).expect("room");
        let handover = read(commit.offset, &commit.metadata, now).unwrap();
        let offsets = handover.unfinished.iter().map(|known| known.offset);
        assert!(offsets.eq(group.unfinished().map(|known| known.offset)));
    }
}

#[test]
fn an_idle_group_says_almost_nothing() {
    let now = Moment { at: Instant::now(), wall: Timestamp::from_millis(1_700_000_000_000) };
    let commit = write(&Group::new(77, 3), author(3), now, MAX_METADATA).unwrap();
    assert_eq!(commit.offset, 77);
    assert!(commit.metadata.len() < 40, "{}", commit.metadata);
}
