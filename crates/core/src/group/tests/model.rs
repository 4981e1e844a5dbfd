//! Random histories against a model that scans everything.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Publish(u8),
    Take(u64),
    Settle { token: usize, verb: u8, millis: u64 },
    Advance(u64),
    Leave(u64),
    Bury,
    Restart,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Ready,
    Waiting(Instant),
    Leased(u64, Instant),
    Dying,
    Done,
}

#[derive(Clone, Debug)]
struct Known {
    place: Place,
    attempts: u32,
    epoch: u64,
    open: bool,
    member: u64,
}

struct World {
    bench: Bench,
    known: Vec<Known>,
    tokens: Vec<(u64, u64)>,
    generation: u32,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..4_u8).prop_map(Step::Publish),
        6 => (0..3_u64).prop_map(Step::Take),
        6 => (any::<usize>(), 0..7_u8, 0..3_000_u64)
            .prop_map(|(token, verb, millis)| Step::Settle { token, verb, millis }),
        2 => (0..20_000_u64).prop_map(Step::Advance),
        1 => (0..3_u64).prop_map(Step::Leave),
        1 => Just(Step::Bury),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..120)
}

impl World {
    fn new() -> Self {
        Self { bench: Bench::new(&[]), known: Vec::new(), tokens: Vec::new(), generation: 1 }
    }

    fn blocked(&self, offset: usize) -> bool {
        let key = &self.bench.messages[offset].key;
        key.is_some()
            && (0..offset).any(|n| self.known[n].place != Place::Done && self.bench.messages[n].key == *key)
    }

    fn eligible(&self, offset: usize) -> bool {
        self.known[offset].place == Place::Ready && !self.blocked(offset)
    }

    fn take(&mut self, member: u64) {
        self.settle_time();
        let Some(taken) = self.bench.take_as(member) else {
            let left: Vec<_> = (0..self.known.len()).filter(|n| self.eligible(*n)).collect();
            assert!(left.is_empty(), "nobody gets {left:?}");
            return;
        };
        let offset = taken.offset as usize;
        assert!(self.eligible(offset), "{offset} is {:?}", self.known[offset]);
        assert_eq!(taken.message, self.bench.messages[offset]);
        let known = &mut self.known[offset];
        assert!(taken.epoch > known.epoch);
        assert_eq!(taken.attempt, known.attempts + 1);
        assert!(taken.attempt <= self.bench.policy.max_deliver);
        let deadline = self.bench.now.at + self.bench.policy.ack_wait;
        *known = Known {
            place: Place::Leased(member, deadline),
            attempts: taken.attempt,
            epoch: taken.epoch,
            open: true,
            member,
        };
        self.tokens.push((taken.offset, taken.epoch));
    }

    /// Lets the time that has come act on both sides.
    fn settle_time(&mut self) {
        let now = self.bench.now.at;
        let dead: Vec<_> = self.bench.group.expire(now).iter().map(|story| story.offset).collect();
        let mut expected = Vec::new();
        for offset in 0..self.known.len() {
            match self.known[offset].place {
                Place::Waiting(due) if due <= now => self.known[offset].place = Place::Ready,
                Place::Leased(_, deadline) if deadline <= now => expected.extend(self.come_back(offset)),
                _ => {}
            }
        }
        for offset in expected {
            assert!(dead.contains(&(offset as u64)), "{offset} is dead");
        }
        for offset in dead {
            assert_eq!(self.known[offset as usize].place, Place::Dying);
            self.bench.group.bury_later(offset, now + Duration::from_secs(1));
        }
        assert!(self.bench.group.next_deadline().is_none_or(|at| at > now));
    }

    fn come_back(&mut self, offset: usize) -> Option<usize> {
        let known = &mut self.known[offset];
        if known.attempts >= self.bench.policy.max_deliver {
            known.place = Place::Dying;
            known.open = false;
            return Some(offset);
        }
        known.place = Place::Ready;
        None
    }

    fn settle(&mut self, token: usize, verb: u8, millis: u64) {
        if self.tokens.is_empty() {
            return;
        }
        let (offset, epoch) = self.tokens[token % self.tokens.len()];
        let delay = Duration::from_millis(millis);
        let verb = match verb {
            0..3 => Verb::Ack,
            3 => nack(Some(delay)),
            4 => nack(None),
            5 => Verb::Reject { reason: "bad".into() },
            _ if millis.is_multiple_of(3) => Verb::Extend(delay),
            _ => Verb::Release { counted: millis % 3 == 1 },
        };
        let outcome = self.bench.group.settle(self.bench.now, offset, epoch, &verb, 0.5);
        let expected = self.expect(offset as usize, epoch, &verb);
        assert_eq!(outcome.settled(), expected, "{verb:?} of {offset}");
    }

    fn expect(&mut self, offset: usize, epoch: u64, verb: &Verb) -> Settled {
        let now = self.bench.now.at;
        let most = self.bench.policy.max_deliver;
        let known = &mut self.known[offset];
        if known.epoch != epoch || !known.open || known.place == Place::Done {
            return Settled::Stale;
        }
        match verb {
            Verb::Ack => {
                known.place = Place::Done;
                Settled::Acked
            }
            Verb::Reject { .. } => {
                (known.place, known.open) = (Place::Dying, false);
                Settled::Rejected
            }
            Verb::Extend(duration) => {
                known.place = Place::Leased(known.member, now + *duration);
                Settled::Extended
            }
            Verb::Release { .. } if known.place == Place::Ready => Settled::Released,
            Verb::Release { counted: false } => {
                (known.place, known.attempts) = (Place::Ready, known.attempts - 1);
                Settled::Released
            }
            Verb::Release { counted: true } => {
                self.come_back(offset).map_or(Settled::Released, |_| Settled::Nacked)
            }
            Verb::Nack(_) if known.attempts >= most => {
                (known.place, known.open) = (Place::Dying, false);
                Settled::Nacked
            }
            Verb::Nack(nack) => {
                let backoff = self.bench.policy.delay_after(known.attempts);
                (known.place, known.open) = (Place::Waiting(now + nack.delay.unwrap_or(backoff)), false);
                Settled::Nacked
            }
        }
    }

    fn leave(&mut self, member: u64) {
        let dead = self.bench.group.return_member(member).len();
        let mut expected = 0;
        for offset in 0..self.known.len() {
            if matches!(self.known[offset].place, Place::Leased(of, _) if of == member) {
                expected += usize::from(self.come_back(offset).is_some());
            }
        }
        assert_eq!(dead, expected);
    }

    fn bury(&mut self) {
        for (offset, known) in self.known.iter_mut().enumerate() {
            if known.place == Place::Dying {
                self.bench.group.bury(offset as u64);
                known.place = Place::Done;
            }
        }
    }

    fn restart(&mut self) {
        self.generation += 1;
        self.bench.restart(self.generation);
        for known in &mut self.known {
            known.member = 0;
        }
        for offset in 0..self.known.len() {
            if matches!(self.known[offset].place, Place::Leased(..)) {
                self.come_back(offset);
            }
        }
        self.settle_time();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Publish(key) => {
                let key = if key == 0 { String::new() } else { key.to_string() };
                self.bench.messages.push(message(self.known.len(), &key));
                let fresh = Known { place: Place::Ready, attempts: 0, epoch: 0, open: false, member: 0 };
                self.known.push(fresh);
            }
            Step::Take(member) => self.take(member),
            Step::Settle { token, verb, millis } => self.settle(token, verb, millis),
            Step::Advance(millis) => {
                self.bench.now.at += Duration::from_millis(millis);
                self.bench.now.wall = self.bench.now.wall.plus(Duration::from_millis(millis));
                self.settle_time();
            }
            Step::Leave(member) => self.leave(member),
            Step::Bury => self.bury(),
            Step::Restart => self.restart(),
        }
        self.check();
    }

    fn check(&self) {
        let undone = self.known.iter().position(|known| known.place != Place::Done);
        let undone = undone.unwrap_or(self.known.len()) as u64;
        assert_eq!(self.bench.group.watermark(), undone);
        let count =
            |wanted: fn(&Place) -> bool| self.known.iter().filter(|known| wanted(&known.place)).count();
        assert_eq!(self.bench.group.leased(), count(|place| matches!(place, Place::Leased(..))));
        for offset in 0..self.bench.group.frontier() {
            let done = self.known[offset as usize].place == Place::Done;
            assert_eq!(self.bench.group.is_done(offset), done, "{offset}");
        }
        self.bench.group.ledger.check();
    }

    /// Whatever happened: from here on everything can be brought to its end.
    fn finish(&mut self) {
        for _ in 0..self.known.len() * 8 + 8 {
            self.step(Step::Advance(31_000));
            self.step(Step::Bury);
            self.step(Step::Take(1));
            let last = self.tokens.len().saturating_sub(1);
            self.step(Step::Settle { token: last, verb: 0, millis: 0 });
        }
        assert_eq!(self.bench.group.watermark(), self.known.len() as u64);
        assert_eq!((self.bench.group.held(), self.bench.group.leased()), (0, 0));
        assert!(self.bench.group.lanes.is_empty());
    }
}

impl Ledger {
    fn check(&self) {
        let states: Vec<_> = self.iter().map(|(offset, entry)| (offset, entry.state)).collect();
        let deadlines = states.iter().filter_map(|(offset, state)| Some((state.deadline()?, *offset)));
        assert_eq!(deadlines.collect::<std::collections::BTreeSet<_>>(), *self.deadlines());
        let count = |wanted: fn(&State) -> bool| states.iter().filter(|(_, state)| wanted(state)).count();
        assert_eq!(self.ready(), count(|state| *state == State::Ready));
        assert_eq!(self.delayed(), count(|state| matches!(state, State::Waiting(_))));
        assert_eq!(self.leased(), count(|state| matches!(state, State::Leased { .. })));
        let by_member: usize = (0..3).map(|member| self.leased_by(member)).sum();
        assert_eq!(by_member, self.leased());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_is_lost_and_nothing_done_comes_back(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.finish();
    }
}
