//! The state of a crew under whatever may happen to it.

use std::collections::HashMap;

use busgate_core::{GroupName, Message, MessageId, Start, SubscribeOptions, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::delivery::Stamp;

/// What may happen.
#[derive(Clone, Debug)]
enum Step {
    Arrive { sequence: u64 },
    Admit { nth: usize },
    Take { member: u64 },
    End { nth: usize, returned: bool },
    Expire { after: u64 },
    Join { member: u64 },
    Leave { member: u64 },
    Touch { after: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_u64..12).prop_map(|sequence| Step::Arrive { sequence }),
        2 => any::<usize>().prop_map(|nth| Step::Admit { nth }),
        4 => (1_u64..4).prop_map(|member| Step::Take { member }),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(nth, returned)| Step::End { nth, returned }),
        1 => (0_u64..3000).prop_map(|after| Step::Expire { after }),
        1 => (1_u64..4).prop_map(|member| Step::Join { member }),
        1 => (1_u64..4).prop_map(|member| Step::Leave { member }),
        1 => (0_u64..3000).prop_map(|after| Step::Touch { after }),
    ];
    prop::collection::vec(step, 1..120)
}

fn options() -> SubscribeOptions {
    let mut options = SubscribeOptions::pool(GroupName::default(), Start::Latest);
    options.max_in_flight = 3;
    options.retry.ack_wait = Duration::from_secs(1);
    options
}

fn arrival(sequence: u64, times: u64, epoch: u64) -> Arrival {
    let published = Timestamp::from_millis(1);
    Arrival {
        delivered: Delivered { stamp: Stamp { sequence, published }, times, epoch, pending: 0 },
        reply: format!("$JS.ACK.s.c.{times}.{sequence}.{epoch}.1.0").into(),
        message: Arc::new(Message::new(MessageId::new("m").unwrap(), "x")),
        generation: 1,
    }
}

/// A state, its clock, and what the server would know.
struct World {
    state: State,
    now: Instant,
    epoch: u64,
    times: HashMap<u64, u64>,
}

impl World {
    fn new() -> Self {
        let mut state = State::after(0);
        state.seats.join(1, &options(), None);
        Self { state, now: Instant::now(), epoch: 0, times: HashMap::new() }
    }

    fn pick(&self, nth: usize, fits: impl Fn(Stand) -> bool) -> Option<u64> {
        let found: Vec<u64> = self.state.book.standing(fits).into_iter().collect();
        (!found.is_empty()).then(|| found[nth % found.len()])
    }

    fn step(&mut self, step: &Step) {
        let mut wakes = Wakes::default();
        match *step {
            Step::Arrive { sequence } => {
                self.epoch += 1;
                let times = self.times.entry(sequence).or_default();
                *times += 1;
                let arrival = arrival(sequence, *times, self.epoch);
                self.state.arrive(self.now, arrival, &mut wakes);
            }
            Step::Admit { nth } => {
                let Some(sequence) = self.pick(nth, |stand| stand == Stand::Admitting) else { return };
                let epoch = self.state.entry(sequence).unwrap().epoch();
                self.state.admit(sequence, epoch, Record::default(), 0, &mut wakes);
            }
            Step::Take { member } => {
                if self.state.seats.has_room(member) {
                    self.state.take(self.now, member, &mut wakes);
                }
            }
            Step::End { nth, returned } => {
                let leased = |stand| matches!(stand, Stand::Leased { .. });
                let Some(sequence) = self.pick(nth, leased) else { return };
                self.state.busy(sequence, &mut wakes);
                if returned {
                    let stand = Stand::Returned { is_open: true, due: None };
                    self.state.shift(sequence, stand, &mut wakes);
                } else {
                    self.state.finish(sequence, &mut wakes);
                }
            }
            Step::Expire { after } => {
                self.now += Duration::from_millis(after);
                for entry in self.state.expire(self.now, &mut wakes) {
                    let stand = Stand::Returned { is_open: true, due: None };
                    self.state.shift(entry.delivered.stamp.sequence, stand, &mut wakes);
                }
            }
            Step::Join { member } => {
                if self.state.seats.get_mut(member).is_none() {
                    self.state.seats.join(member, &options(), None);
                }
            }
            Step::Leave { member } => {
                self.state.seats.leave(member);
                self.state.unread(&mut wakes);
            }
            Step::Touch { after } => {
                self.now += Duration::from_millis(after);
                self.state.book.untouched(self.now, Duration::from_secs(1), 1);
            }
        }
    }
}

proptest! {
    #[test]
    fn the_indexes_say_what_the_entries_say(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            world.state.book.check();
        }
    }
}

#[test]
fn a_second_delivery_of_what_is_held_changes_only_how_to_settle_it() {
    let (mut state, mut wakes, now) = (State::after(0), Wakes::default(), Instant::now());
    state.seats.join(1, &options(), None);
    state.arrive(now, arrival(1, 1, 1), &mut wakes);
    state.take(now, 1, &mut wakes).unwrap();
    assert_eq!(state.arrive(now, arrival(1, 2, 2), &mut wakes), Admission::Done);
    let entry = state.entry(1).unwrap();
    assert_eq!((entry.epoch(), entry.reply.as_str()), (1, "$JS.ACK.s.c.2.1.2.1.0"));
    assert!(matches!(entry.stand, Stand::Leased { .. }));
}

#[test]
fn what_comes_for_the_first_time_needs_no_look_up() {
    let (mut state, mut wakes, now) = (State::after(5), Wakes::default(), Instant::now());
    state.seats.join(1, &options(), None);
    assert_eq!(state.arrive(now, arrival(6, 1, 1), &mut wakes), Admission::Done);
    // A server of 2.9 may call a redelivery the first one.
    assert_eq!(state.arrive(now, arrival(5, 1, 2), &mut wakes), Admission::LookUp);
    assert_eq!(state.arrive(now, arrival(7, 2, 3), &mut wakes), Admission::LookUp);
}

#[test]
fn what_this_node_returned_needs_no_look_up() {
    for (is_open, wanted) in [(false, Admission::Linger), (true, Admission::Close)] {
        let (mut state, mut wakes, now) = (State::after(0), Wakes::default(), Instant::now());
        state.seats.join(1, &options(), None);
        state.arrive(now, arrival(1, 1, 1), &mut wakes);
        state.take(now, 1, &mut wakes).unwrap();
        state.shift(1, Stand::Returned { is_open, due: None }, &mut wakes);
        assert_eq!(state.arrive(now, arrival(1, 2, 2), &mut wakes), wanted);
        // Unless another node had it in between.
        state.shift(1, Stand::Returned { is_open, due: None }, &mut wakes);
        assert_eq!(state.arrive(now, arrival(1, 5, 9), &mut wakes), Admission::LookUp);
    }
}

#[test]
fn the_token_of_the_last_taker_is_kept_however_often_a_message_is_handed_back() {
    let (mut state, mut wakes, now) = (State::after(0), Wakes::default(), Instant::now());
    state.seats.join(1, &options(), None);
    state.arrive(now, arrival(1, 1, 1), &mut wakes);
    state.take(now, 1, &mut wakes).unwrap();
    state.shift(1, Stand::Returned { is_open: true, due: None }, &mut wakes);
    for (times, is_admitted) in [(2, false), (3, true), (4, false)] {
        assert_eq!(state.arrive(now, arrival(1, times, times), &mut wakes), Admission::Close);
        if is_admitted {
            state.admit(1, times, Record::default(), 0, &mut wakes);
        }
        assert_eq!(state.hand_back(1, &mut wakes).unwrap().previous, Some(1));
    }
    state.arrive(now, arrival(1, 5, 5), &mut wakes);
    state.admit(1, 5, Record::default(), 0, &mut wakes);
    state.take(now, 1, &mut wakes).unwrap();
    assert_eq!(state.entry(1).unwrap().previous, None, "somebody else has it now");
}

#[test]
fn what_is_fresh_waits_for_an_earlier_one_but_not_for_ever() {
    let (mut state, mut wakes, now) = (State::after(1), Wakes::default(), Instant::now());
    state.seats.join(1, &options(), None);
    state.arrive(now, arrival(1, 2, 1), &mut wakes);
    state.arrive(now, arrival(2, 1, 2), &mut wakes);
    assert!(state.take(now, 1, &mut wakes).is_none());
    let (entry, _) = state.take(now + COURTESY, 1, &mut wakes).unwrap();
    assert_eq!(entry.delivered.stamp.sequence, 2);
}

#[test]
fn the_last_to_leave_hands_back_what_nobody_got() {
    let (mut state, mut wakes, now) = (State::after(0), Wakes::default(), Instant::now());
    state.seats.join(1, &options(), None);
    for sequence in 1..4 {
        state.arrive(now, arrival(sequence, 1, sequence), &mut wakes);
    }
    state.take(now, 1, &mut wakes).unwrap();
    state.seats.leave(1);
    let back: Vec<u64> =
        state.unread(&mut wakes).iter().map(|entry| entry.delivered.stamp.sequence).collect();
    assert_eq!(back, [2, 3]);
    assert_eq!((state.book.held(), state.book.leased()), (1, 1));
}
