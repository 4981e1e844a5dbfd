//! The laws of a subscription, against a gateway that is a few lines of its own.

use std::{collections::BTreeMap, num::NonZeroU64, time::Duration};

use busgate_core::{
    AckMode, AckStatus, Cursor, EventName, GroupName, Holder, Message, MessageId, Pattern, Start,
};
use proptest::prelude::*;

use super::*;

const ACK_WAIT: Duration = Duration::from_secs(10);
const ROOM: usize = 8;

fn event() -> EventName {
    EventName::new("orders").unwrap()
}

fn plan(request: SubscribeRequest) -> Plan {
    let request = SubscribeRequest { ack_wait: Some(ACK_WAIT), max_in_flight: Some(ROOM), ..request };
    Plan { request, replay: true, extend: true, buffer: 100 }
}

/// A member of a group whose stream stands.
fn member() -> Session<&'static str> {
    let group = GroupName::default();
    let sealer = Sealer::new(event(), Holder::Group(group.clone()), 1, 1);
    let request = SubscribeRequest::pool(Pattern::from(event()), group);
    let mut session = Session::new(plan(request), Some(sealer));
    session.opening();
    session.opened();
    session
}

/// An unnamed subscriber whose stream stands.
fn unnamed() -> Session<&'static str> {
    let request = SubscribeRequest::broadcast(Pattern::from(event()));
    let mut session = Session::new(plan(SubscribeRequest { ack: AckMode::Auto, ..request }), None);
    session.opening();
    session.opened();
    session
}

fn message(number: u32, ack_id: Option<String>) -> Frame {
    Frame::Message(Box::new(Received {
        event: event(),
        cursor: Cursor::new(format!("c{number}")).unwrap(),
        message: Message::new(MessageId::new(format!("m{number}")).unwrap(), "x"),
        attempt: 1,
        ack_id,
        number: None,
        gap: None,
    }))
}

fn leased(number: u32) -> Frame {
    message(number, Some(format!("ack-{number}")))
}

fn receive(session: &mut Session<&'static str>, now: Instant, frame: Frame) {
    assert!(session.received(now, frame).unwrap().is_empty());
}

fn yielded(session: &mut Session<&'static str>, now: Instant) -> Option<String> {
    match session.poll(now)? {
        Yielded::Message(received, _) => Some(received.message.id.to_string()),
        other => panic!("no message: {other:?}"),
    }
}

/// The program acks the delivery `seq`; whether that goes over the stream.
fn ack(
    session: &mut Session<&'static str>,
    now: Instant,
    seq: u64,
    ack_id: &str,
    waiter: &'static str,
) -> bool {
    session.settle(now, [(seq, SettleAction::Ack, || ack_id.to_owned())].into_iter(), waiter)
}

fn ack_id(key: AckKey) -> String {
    match key {
        AckKey::Id(id) => id,
        AckKey::Number(number) => panic!("{number} is no ack id"),
    }
}

/// What is settled by the next frame: ack ids and actions.
fn settles(session: &mut Session<&'static str>) -> Vec<(String, SettleAction)> {
    match session.next_frame() {
        Some(ConsumeFrame::Settle { entries, .. }) => {
            entries.into_iter().map(|(key, action)| (ack_id(key), action)).collect()
        }
        other => panic!("nothing is settled: {other:?}"),
    }
}

const RELEASE: SettleAction = SettleAction::Release { counted: false };

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_to_a_program_that_does_not_ask() {
    let mut session = member();
    assert!(matches!(session.opening().1, [ConsumeFrame::Credit(0), ConsumeFrame::Subscribe(_)]));
    assert_eq!(session.next_frame(), None);
    assert!(session.poll(Instant::now()).is_none());
    assert_eq!(session.next_frame(), Some(ConsumeFrame::Credit(8)));
    assert!(!session.has_frame());
}

#[tokio::test(start_paused = true)]
async fn credit_is_given_half_the_room_at_a_time() {
    let (mut session, now) = (member(), Instant::now());
    session.poll(now);
    session.next_frame();
    for number in 0..8 {
        receive(&mut session, now, leased(number));
    }
    for _ in 0..4 {
        yielded(&mut session, now);
        assert!(!session.has_frame(), "there is little room");
    }
    yielded(&mut session, now);
    assert_eq!(session.next_frame(), Some(ConsumeFrame::Credit(4)));
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_kept_alive_well_before_its_lease_runs_out() {
    let (mut session, start) = (member(), Instant::now());
    session.poll(start);
    session.next_frame();
    receive(&mut session, start, leased(1));
    receive(&mut session, start + ACK_WAIT / 4, leased(2));
    assert_eq!(session.wake_at(), Some(start + ACK_WAIT / 2));
    session.tick(start + ACK_WAIT / 2 - Duration::from_nanos(1));
    assert!(!session.has_frame());
    session.tick(start + ACK_WAIT / 2);
    let extend = SettleAction::Extend(ACK_WAIT);
    assert_eq!(settles(&mut session), [("ack-1".into(), extend.clone()), ("ack-2".into(), extend)]);
    assert_eq!(session.wake_at(), Some(start + ACK_WAIT));
    assert_eq!(yielded(&mut session, start + ACK_WAIT).as_deref(), Some("m1"));
}

#[tokio::test(start_paused = true)]
async fn what_is_yielded_late_starts_its_lease_anew() {
    let (mut session, start) = (member(), Instant::now());
    session.poll(start);
    session.next_frame();
    receive(&mut session, start, leased(1));
    receive(&mut session, start, leased(2));
    yielded(&mut session, start + ACK_WAIT / 20);
    assert!(!session.has_frame(), "that is soon enough");
    yielded(&mut session, start + ACK_WAIT / 20 + Duration::from_nanos(1));
    assert_eq!(settles(&mut session), [("ack-2".into(), SettleAction::Extend(ACK_WAIT))]);
}

#[tokio::test(start_paused = true)]
async fn what_ran_out_here_is_not_yielded() {
    let (mut session, start) = (member(), Instant::now());
    receive(&mut session, start, leased(1));
    receive(&mut session, start + ACK_WAIT / 2, leased(2));
    assert_eq!(yielded(&mut session, start + ACK_WAIT).as_deref(), Some("m2"));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_ours_any_more_is_not_yielded() {
    let (mut session, start) = (member(), Instant::now());
    session.poll(start);
    session.next_frame();
    receive(&mut session, start, leased(1));
    receive(&mut session, start, leased(2));
    session.tick(start + ACK_WAIT / 2);
    let Some(ConsumeFrame::Settle { sequence, .. }) = session.next_frame() else { panic!("no extension") };
    let answers =
        [AckStatus::Stale, AckStatus::Extended].map(|status| SettleAnswer { status, message: None });
    let answers = answers.map(|answer| (String::new(), answer)).to_vec();
    receive(&mut session, start + ACK_WAIT / 2, Frame::Settled { sequence, answers });
    assert_eq!(yielded(&mut session, start + ACK_WAIT / 2).as_deref(), Some("m2"));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_asks_for_in_a_long_time_goes_back() {
    let (mut session, start) = (member(), Instant::now());
    session.poll(start);
    session.next_frame();
    receive(&mut session, start, leased(1));
    let mut now = start;
    let back = loop {
        now += ACK_WAIT / 2;
        session.tick(now);
        match settles(&mut session).pop() {
            Some((_, SettleAction::Extend(_))) => {}
            other => break other,
        }
    };
    assert_eq!(back, Some(("ack-1".into(), RELEASE)));
    assert_eq!(now - start, ACK_WAIT * 10);
}

#[tokio::test(start_paused = true)]
async fn leaving_gives_back_what_was_not_yielded_and_nothing_else() {
    let (mut session, now) = (member(), Instant::now());
    receive(&mut session, now, leased(1));
    receive(&mut session, now, leased(2));
    yielded(&mut session, now);
    session.leave();
    session.leave();
    assert_eq!(session.next_frame(), Some(ConsumeFrame::Leave));
    assert_eq!(session.next_frame(), None);
    receive(&mut session, now, leased(3));
    assert_eq!(session.take_orphans(), ["ack-2", "ack-3"], "what was on its way too");
    assert_eq!(session.held().count(now), 1);
}

#[tokio::test(start_paused = true)]
async fn what_came_by_the_present_stream_is_settled_by_its_number() {
    let (mut session, now) = (member(), Instant::now());
    let number = NonZeroU64::new(7).unwrap();
    let numbered = |frame| match frame {
        Frame::Message(received) => Frame::Message(Box::new(Received { number: Some(number), ..*received })),
        other => other,
    };
    for nth in 1..=2 {
        receive(&mut session, now, numbered(leased(nth)));
        yielded(&mut session, now);
    }
    ack(&mut session, now, 0, "ack-1", "program");
    let Some(ConsumeFrame::Settle { entries, .. }) = session.next_frame() else { panic!("no ack") };
    assert_eq!(entries, [(AckKey::Number(number), SettleAction::Ack)]);
    session.broken();
    session.opening();
    session.opened();
    // The next stream counts anew.
    ack(&mut session, now, 1, "ack-2", "program");
    let Some(ConsumeFrame::Settle { entries, .. }) = session.next_frame() else { panic!("no ack") };
    assert_eq!(entries, [(AckKey::Id("ack-2".into()), SettleAction::Ack)]);
}

#[tokio::test(start_paused = true)]
async fn acks_go_before_the_leave() {
    let (mut session, now) = (member(), Instant::now());
    assert!(ack(&mut session, now, 0, "ack-1", "program"));
    session.leave();
    assert_eq!(settles(&mut session), [("ack-1".into(), SettleAction::Ack)]);
    assert_eq!(session.next_frame(), Some(ConsumeFrame::Leave));
    assert!(!ack(&mut session, now, 1, "ack-2", "late"), "the stream takes no more");
}

#[tokio::test(start_paused = true)]
async fn a_drain_gives_back_what_waits_and_lets_the_program_finish() {
    let (mut session, now) = (member(), Instant::now());
    receive(&mut session, now, leased(1));
    receive(&mut session, now, leased(2));
    yielded(&mut session, now);
    receive(&mut session, now, Frame::Draining { retry_after: None });
    assert_eq!(settles(&mut session), [("ack-2".into(), RELEASE)]);
    assert!(ack(&mut session, now, 0, "ack-1", "program"));
    assert_eq!(settles(&mut session).len(), 1);
    session.poll(now);
    assert!(!session.has_frame(), "no more is asked for");
}

#[tokio::test(start_paused = true)]
async fn a_broken_stream_tells_whoever_waits_and_takes_what_waited() {
    let (mut session, now) = (member(), Instant::now());
    receive(&mut session, now, leased(1));
    ack(&mut session, now, 0, "ack-8", "sent");
    session.next_frame();
    ack(&mut session, now, 1, "ack-9", "queued");
    assert_eq!(session.broken(), [("sent", Effect::Unknown), ("queued", Effect::None)]);
    assert!(session.poll(now).is_none(), "it will be delivered again");
    assert_eq!(session.take_orphans(), ["ack-1"]);
    assert!(!ack(&mut session, now, 2, "ack-7", "apart"));
    session.opening();
    session.opened();
    assert_eq!(
        session.next_frame(),
        Some(ConsumeFrame::Credit(8)),
        "the program waits, and credit starts over"
    );
}

#[tokio::test(start_paused = true)]
async fn an_old_stream_gets_no_frames() {
    let mut session = member();
    let (first, _) = session.opening();
    session.opened();
    session.broken();
    let (second, _) = session.opening();
    assert!(!session.is_current(first) && session.is_current(second));
}

#[tokio::test(start_paused = true)]
async fn unnamed_resumes_after_what_came_last_and_keeps_what_waits() {
    let (mut session, now) = (unnamed(), Instant::now());
    receive(&mut session, now, message(1, None));
    receive(&mut session, now, message(2, None));
    yielded(&mut session, now);
    session.broken();
    let (_, [_, ConsumeFrame::Subscribe(request)]) = session.opening() else { panic!("no subscription") };
    assert_eq!(request.start, Start::After(Cursor::new("c2").unwrap()));
    assert_eq!(yielded(&mut session, now).as_deref(), Some("m2"));
}

#[tokio::test(start_paused = true)]
async fn an_end_comes_after_what_waits_unless_the_transport_closed() {
    let (mut session, now) = (unnamed(), Instant::now());
    receive(&mut session, now, message(1, None));
    session.finish(None);
    assert!(yielded(&mut session, now).is_some());
    assert!(matches!(session.poll(now), Some(Yielded::End(None))));
    let mut session = unnamed();
    receive(&mut session, now, message(1, None));
    session.cut(Error::unavailable("closed"));
    session.finish(None);
    assert!(matches!(session.poll(now), Some(Yielded::End(Some(_)))));
    assert!(matches!(session.poll(now), Some(Yielded::End(None))));
}

#[tokio::test(start_paused = true)]
async fn a_delivery_without_an_ack_id_breaks_the_protocol() {
    let error = member().received(Instant::now(), message(1, None)).unwrap_err();
    assert_eq!(error.kind(), busgate_core::ErrorKind::Internal);
}

/// A gateway's side of a worker group: what is there, and what is leased until when.
#[derive(Debug, Default)]
struct Group {
    ready: std::collections::VecDeque<u32>,
    leased: BTreeMap<String, (u32, Instant)>,
    done: Vec<u32>,
    credit: u32,
    epoch: u32,
}

impl Group {
    /// Carries out what a client's frame says.
    fn hear(&mut self, now: Instant, frame: ConsumeFrame) -> Option<Frame> {
        match frame {
            ConsumeFrame::Credit(more) => self.credit += more,
            ConsumeFrame::Leave => self.credit = 0,
            ConsumeFrame::Subscribe(_) => panic!("it is subscribed"),
            ConsumeFrame::Settle { sequence, entries } => {
                let answer = |(key, action): (AckKey, SettleAction)| {
                    let ack_id = ack_id(key);
                    let status = self.settle(now, &ack_id, &action);
                    (ack_id, SettleAnswer { status, message: None })
                };
                return Some(Frame::Settled { sequence, answers: entries.into_iter().map(answer).collect() });
            }
        }
        None
    }

    fn settle(&mut self, now: Instant, ack_id: &str, action: &SettleAction) -> AckStatus {
        let Some((number, until)) = self.leased.get_mut(ack_id) else { return AckStatus::Stale };
        match action {
            SettleAction::Extend(lease) => {
                *until = now + *lease;
                return AckStatus::Extended;
            }
            SettleAction::Ack => self.done.push(*number),
            _ => self.ready.push_back(*number),
        }
        self.leased.remove(ack_id);
        AckStatus::Acked
    }

    fn expire(&mut self, now: Instant) {
        let over: Vec<_> =
            self.leased.iter().filter(|(_, (_, until))| *until <= now).map(|(id, _)| id.clone()).collect();
        for ack_id in over {
            if let Some((number, _)) = self.leased.remove(&ack_id) {
                self.ready.push_back(number);
            }
        }
    }

    fn deliver(&mut self, now: Instant) -> Option<Frame> {
        let number =
            if self.credit > 0 && self.leased.len() < ROOM { self.ready.pop_front()? } else { return None };
        self.credit -= 1;
        self.epoch += 1;
        let ack_id = format!("{number}-{}", self.epoch);
        self.leased.insert(ack_id.clone(), (number, now + ACK_WAIT));
        Some(message(number, Some(ack_id)))
    }

    /// The stream is gone: everything leased over it comes back.
    fn lose(&mut self) {
        self.credit = 0;
        let leased = std::mem::take(&mut self.leased);
        self.ready.extend(leased.into_values().map(|(number, _)| number));
    }
}

proptest! {
    /// Whatever happens to the stream and however slow the program is: what it yields is leased to it at that moment, and
    /// in the end every message is acked once.
    #[test]
    fn what_is_yielded_is_held_and_everything_gets_done(steps in proptest::collection::vec(0u8..100, 1..400)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _guard = runtime.enter();
        let (mut session, mut group, mut now) = (member(), Group::default(), Instant::now());
        let mut hands = Vec::new();
        let ending = (0..2000).map(|nth| [0, 30, 50, 60, 70][nth % 5]);
        for (nth, step) in steps.iter().copied().chain(ending).enumerate() {
            match step {
                0..=29 => if let Some(answer) = session.next_frame().and_then(|frame| group.hear(now, frame)) {
                    session.received(now, answer).unwrap();
                },
                30..=49 => if let Some(frame) = group.deliver(now) {
                    session.received(now, frame).unwrap();
                },
                50..=59 => if let Some(Yielded::Message(received, token)) = session.poll(now) {
                    let ack_id = received.ack_id.clone().unwrap();
                    prop_assert!(group.leased.contains_key(&ack_id), "{ack_id} is somebody else's");
                    hands.push((crate::token::route(&token.unwrap()).unwrap().seq, ack_id));
                },
                60..=69 => if let Some((seq, ack_id)) = hands.pop() {
                    ack(&mut session, now, seq, &ack_id, "program");
                },
                70..=84 if nth < steps.len() => group.ready.push_back(u32::try_from(nth).unwrap()),
                85..=94 => {
                    now += ACK_WAIT / 8;
                    session.tick(now);
                    // The driver's frames go out at once.
                    while let Some(frame) = session.next_frame() {
                        if let Some(answer) = group.hear(now, frame) {
                            session.received(now, answer).unwrap();
                        }
                    }
                    group.expire(now);
                }
                95..=97 => {
                    group.lose();
                    session.broken();
                    session.take_orphans();
                    hands.clear();
                    session.opening();
                    session.opened();
                }
                _ => {}
            }
        }
        let sent: std::collections::BTreeSet<_> = steps.iter().enumerate()
            .filter(|(_, step)| (70..=84).contains(*step))
            .map(|(nth, _)| u32::try_from(nth).unwrap())
            .collect();
        let mut done = group.done.clone();
        done.sort_unstable();
        prop_assert_eq!(done, sent.into_iter().collect::<Vec<_>>());
    }
}
