//! Laws of commits over random histories of acks, nacks, expiry, crashes and rebalances.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use busgate_core::{Message, MessageId, Nack, Outcome, RetryPolicy, Slot, Taken, Verb};
use proptest::prelude::*;

use super::*;
use crate::shelf::{Entry, MAX_ASIDE, parse_record};

const MESSAGES: u64 = 60;

fn author(generation: u32) -> Author {
    Author { life: u64::MAX - 7, generation }
}

/// What has to be written with a commit, and how far that came.
type Late = Vec<(u64, u64, Option<Vec<u8>>)>;

/// One partition, the group over it, and what the broker knows of it.
#[derive(Debug)]
struct World {
    group: Group,
    shelf: Shelf,
    /// The records of what is set aside: by shelf and offset.
    records: BTreeMap<(u64, u64), Vec<u8>>,
    /// What owners that are gone had on its way to the broker, and may get there at any time.
    late: Late,
    /// Shelves to which something came late.
    strays: BTreeSet<u64>,
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
    /// Acked when their owner went: nobody was told that they are done, but they may be.
    unanswered: BTreeSet<u64>,
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
        let shelf = Shelf::default();
        let commit = write(&group, &shelf, author(1), now, limit).unwrap();
        Self {
            group,
            shelf,
            records: BTreeMap::new(),
            late: Vec::new(),
            strays: BTreeSet::new(),
            generation: 1,
            now,
            policy: Arc::new(policy),
            messages: messages.collect(),
            limit,
            commit,
            pending: BTreeSet::new(),
            answered: BTreeSet::new(),
            unanswered: BTreeSet::new(),
            told: BTreeMap::new(),
            held: Vec::new(),
        }
    }

    fn take(&mut self) -> Option<Taken> {
        let (messages, reach) = (&self.messages, reach(&self.group, &self.shelf, self.limit));
        let source = |offset: u64| {
            let message = messages.get(offset as usize).filter(|_| offset < reach);
            message.map_or(Slot::End, |message| Slot::Message(Arc::clone(message)))
        };
        let taken = self.group.take(self.now, 1, &self.policy, source)?;
        assert!(!self.answered.contains(&taken.offset), "{} is done, and comes again", taken.offset);
        let told = self.told.get(&taken.offset).copied().unwrap_or(0);
        assert!(taken.attempt > told, "attempt {} of {} was {told} before", taken.attempt, taken.offset);
        let key = &self.messages[taken.offset as usize].key;
        if key.is_some() {
            let earlier = (0..taken.offset).filter(|offset| self.messages[*offset as usize].key == *key);
            for offset in earlier {
                let is_done = self.answered.contains(&offset) || self.unanswered.contains(&offset);
                assert!(is_done, "{} overtakes {offset}", taken.offset);
            }
        }
        self.shelf.touch(taken.offset);
        self.held.push(taken.clone());
        Some(taken)
    }

    fn settle(&mut self, pick: usize, verb: &Verb) {
        if self.held.is_empty() {
            return;
        }
        let taken = self.held.swap_remove(pick % self.held.len());
        let outcome = self.group.settle(self.now, taken.offset, taken.epoch, verb, 0.5);
        match outcome {
            Outcome::Acked => {
                self.pending.insert(taken.offset);
                self.shelf.finish(taken.offset);
            }
            Outcome::Stale | Outcome::Unknown => {}
            Outcome::Released if *verb == (Verb::Release { counted: false }) => {
                self.shelf.touch(taken.offset);
                self.told.entry(taken.offset).and_modify(|told| *told = told.saturating_sub(1));
            }
            _ => self.shelf.touch(taken.offset),
        }
    }

    /// What is to be written, and the commit that counts on it.
    fn plan(&mut self) -> (Vec<Entry>, Commit) {
        let author = author(self.generation);
        let entries = self.shelf.plan(&self.group, author, self.now, self.limit);
        let commit = write(&self.group, &self.shelf, author, self.now, self.limit);
        let commit = commit.expect("there is always room");
        assert!(commit.metadata.len() <= self.limit, "{} bytes", commit.metadata.len());
        (entries, commit)
    }

    fn keep(&mut self, (shelf, offset, value): (u64, u64, Option<Vec<u8>>)) {
        match value {
            Some(value) => drop(self.records.insert((shelf, offset), value)),
            None => drop(self.records.remove(&(shelf, offset))),
        }
    }

    /// A commit that the broker answers.
    fn commit(&mut self) {
        self.commit_while(|_| {});
    }

    /// A commit that the broker answers while something else happens.
    fn commit_while(&mut self, meanwhile: impl FnOnce(&mut Self)) {
        let mark = self.group.settled();
        let mut settled = std::mem::take(&mut self.pending);
        let (entries, commit) = self.plan();
        let is_kept = |offset| self.limit == MAX_METADATA || self.shelf.covers(offset);
        let told = self.group.unfinished().filter(|known| is_kept(known.offset));
        self.told = told.map(|known| (known.offset, known.attempts)).collect();
        meanwhile(self);
        self.commit = commit;
        for entry in entries {
            self.keep((entry.shelf, entry.offset, entry.value));
        }
        let ended = [&settled, &self.answered, &self.unanswered];
        let is_open = |offset: &u64| !ended.iter().any(|ended| ended.contains(offset));
        let tag = self.read_back().shelf;
        let is_aside = |offset: &u64| tag.is_some_and(|tag| self.records.contains_key(&(tag.id, *offset)));
        let lowest = (0..).find(|offset| is_open(offset) && !is_aside(offset));
        assert!(self.commit.offset <= lowest.unwrap(), "{} is committed", self.commit.offset);
        self.answered.append(&mut settled);
        self.group.confirm(mark);
        self.shelf.landed(&self.group);
        self.shelf.kept(self.now.at);
    }

    /// A commit that gets no further than its first records, of which nobody hears; the others may get there later.
    fn fail(&mut self, after: usize, is_dead: bool) {
        let (entries, _) = self.plan();
        for (nth, entry) in entries.into_iter().enumerate() {
            let record = (entry.shelf, entry.offset, entry.value);
            if nth < after { self.keep(record) } else { self.late.push(record) }
        }
        if is_dead { self.next_owner() } else { self.shelf.failed(self.now.at) }
    }

    /// Something that was on its way gets there.
    fn arrive(&mut self, pick: usize) {
        if !self.late.is_empty() {
            let record = self.late.swap_remove(pick % self.late.len());
            self.strays.insert(record.0);
            self.keep(record);
        }
    }

    fn read_back(&self) -> Handover {
        read(self.commit.offset, &self.commit.metadata, self.now).unwrap()
    }

    /// Another owner goes on from what the broker has.
    fn next_owner(&mut self) {
        let mut handover = self.read_back();
        assert_eq!(handover.author.life, author(0).life);
        let tag = handover.shelf.map(|tag| tag.id);
        let of_shelf = self.records.iter().filter(|((shelf, _), _)| Some(*shelf) == tag);
        let known = of_shelf.filter(|((_, offset), _)| *offset < handover.frontier);
        let known: Vec<_> =
            known.map(|((_, offset), value)| parse_record(value, *offset, self.now).unwrap()).collect();
        self.shelf = Shelf::resume(&known, self.records.keys().copied().collect());
        handover.unfinished.retain(|told| known.iter().all(|known| known.offset != told.offset));
        handover.unfinished.extend(known);
        handover.unfinished.sort_by_key(|known| known.offset);
        self.generation = self.generation.max(handover.author.generation) + 1;
        self.group = Group::resume(handover.frontier, self.generation, &self.policy, handover.unfinished)
            .with_confirmed_order();
        self.unanswered.append(&mut self.pending);
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
        let done: BTreeSet<_> = self.answered.union(&self.unanswered).collect();
        assert_eq!(done.len() as u64, MESSAGES, "{done:?} are done");
        assert_eq!(self.commit.offset, MESSAGES);
        assert_eq!(self.read_back().shelf, None, "nothing is set aside any more");
        for _ in 0..MESSAGES {
            self.commit();
        }
        assert!(self.records.keys().all(|(shelf, _)| self.strays.contains(shelf)), "records are left over");
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
    CommitWhile(Box<Self>),
    Fail(usize, bool),
    Arrive(usize),
}

/// What happens to deliveries.
fn small_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Take),
        6 => any::<usize>().prop_map(Step::Ack),
        2 => (any::<usize>(), 0..20_000_u64).prop_map(|(pick, delay)| Step::Nack(pick, delay)),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(pick, counted)| Step::Release(pick, counted)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        17 => small_step(),
        1 => (1..35_000_u64).prop_map(Step::Pass),
        2 => small_step().prop_map(|step| Step::CommitWhile(Box::new(step))),
        3 => Just(Step::Commit),
        1 => Just(Step::Crash),
        1 => Just(Step::Rebalance),
        2 => (0..40_usize, any::<bool>()).prop_map(|(after, is_dead)| Step::Fail(after, is_dead)),
        1 => any::<usize>().prop_map(Step::Arrive),
    ]
}

fn run(world: &mut World, steps: Vec<Step>) {
    for step in steps {
        match step {
            Step::CommitWhile(step) => world.commit_while(|world| run(world, vec![*step])),
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
            Step::Fail(after, is_dead) => world.fail(after, is_dead),
            Step::Arrive(pick) => world.arrive(pick),
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
        limit in prop_oneof![Just(MAX_METADATA), 80..160_usize],
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
        let commit = write(&world.group, &world.shelf, author(9), world.now, MAX_METADATA).unwrap();
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
        let reach = reach(&group, &Shelf::default(), MAX_METADATA);
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
    let commit = write(&group, &Shelf::default(), author(7), now, MAX_METADATA).unwrap();
    assert!(commit.offset == 0 && commit.metadata.len() < 60, "{}", commit.metadata);
}

#[test]
fn there_is_always_room() {
    let patterns: [fn(u64) -> bool; 4] =
        [|_| false, |offset| offset % 2 == 0, |offset| offset % 5 != 0, |offset| offset % 3001 != 0];
    for is_done in patterns {
        let (group, now) = acked(40_000, is_done);
        assert!(group.frontier() > 20_000, "{} are enough to stop", group.frontier());
        let commit = write(&group, &Shelf::default(), author(7), now, MAX_METADATA).expect("room");
        let handover = read(commit.offset, &commit.metadata, now).unwrap();
        let offsets = handover.unfinished.iter().map(|known| known.offset);
        assert!(offsets.eq(group.unfinished().map(|known| known.offset)));
    }
}

#[test]
fn an_idle_group_says_almost_nothing() {
    let now = Moment { at: Instant::now(), wall: Timestamp::from_millis(1_700_000_000_000) };
    let commit = write(&Group::new(77, 3), &Shelf::default(), author(3), now, MAX_METADATA).unwrap();
    assert_eq!(commit.offset, 77);
    assert!(commit.metadata.len() < 40, "{}", commit.metadata);
}

/// A group whose messages are all delayed, as long as any are handed out, and its shelf.
fn delayed() -> (Group, Shelf) {
    let now = Moment { at: Instant::now(), wall: Timestamp::from_millis(1_700_000_000_000) };
    let policy = Arc::new(RetryPolicy::default());
    let mut group = Group::new(0, 7).with_max_held(MAX_ASIDE);
    let mut shelf = Shelf::default();
    let message = Arc::new(Message::new(MessageId::new("m").unwrap(), "x"));
    for nth in 0_u64.. {
        let reach = reach(&group, &shelf, MAX_METADATA);
        let source = |offset| if offset < reach { Slot::Message(Arc::clone(&message)) } else { Slot::End };
        let Some(taken) = group.take(now, 1, &policy, source) else { break };
        let delay = Some(Duration::from_millis(60_000 + nth * 7919 % 100_000));
        let verb = Verb::Nack(Nack { delay, error: None });
        group.settle(now, taken.offset, taken.epoch, &verb, 0.5);
        if nth % 200 == 199 {
            shelf.plan(&group, author(7), now, MAX_METADATA);
            let commit = write(&group, &shelf, author(7), now, MAX_METADATA).expect("room");
            assert!(commit.metadata.len() <= MAX_METADATA);
            shelf.landed(&group);
            shelf.kept(now.at);
        }
    }
    (group, shelf)
}

#[test]
fn as_many_wait_as_are_promised_and_no_more() {
    let (group, shelf) = delayed();
    assert!(group.delayed() >= MAX_ASIDE, "{} wait", group.delayed());
    assert!(group.delayed() <= MAX_ASIDE + 1000, "{} wait", group.delayed());
    assert!(shelf.floor(&group) > MAX_ASIDE as u64 * 9 / 10, "up to {} all is aside", shelf.floor(&group));
}

#[test]
fn attempts_of_what_is_set_aside_go_on_with_the_next_owner() {
    let mut world = World::new(&[0], 90);
    // Delays that are equal would take no room.
    let nack = |offset: u64| {
        let delay = Some(Duration::from_millis(1000 + offset * 7919 % 10_000));
        Verb::Nack(Nack { delay, error: None })
    };
    let all_fail = |world: &mut World| {
        let mut attempts = BTreeMap::new();
        while let Some(taken) = world.take() {
            attempts.insert(taken.offset, taken.attempt);
            world.settle(0, &nack(taken.offset));
            world.commit();
        }
        world.pass(Duration::from_secs(12));
        attempts
    };
    all_fail(&mut world);
    let aside: Vec<_> = (0..MESSAGES).filter(|offset| world.shelf.covers(*offset)).collect();
    assert!(!aside.is_empty(), "nothing was set aside");
    all_fail(&mut world);
    world.next_owner();
    world.pass(Duration::ZERO);
    let attempts = all_fail(&mut world);
    for offset in aside {
        assert_eq!(attempts.get(&offset), Some(&3), "{offset}");
    }
}
