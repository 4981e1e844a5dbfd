//! Models of a stream's clock against its client on several threads: every interleaving of the steps of the real stream
//! (what a step is, `sync::modelled` says). What is not modelled: the session around it (`tests/gateway/races.rs`), and the
//! transport's own leases, which its state machine fences (`group`).
//!
//! Each of these was broken on purpose and found here: a settlement that does not look whether the delivery is still held
//! (acked, and it comes back), an expiry that lets go of the lock between the clock and the entry (twice), room that is
//! not told (a waiter that hangs), a window that keeps the weight of what is settled.

use std::time::Duration;

use loom::{future::block_on, thread};
use tokio::time::Instant;

use super::*;
use crate::{
    Cursor, Envelope, EventName, GroupName, Holder, LeaseToken, Message, MessageId, RetryPolicy, Settled,
    Verb, sync::model,
};

const ACK_WAIT: Duration = Duration::from_secs(10);

fn stream() -> Arc<Stream> {
    let retry = RetryPolicy { ack_wait: ACK_WAIT, max_deliver: 5, ..RetryPolicy::default() };
    Arc::new(Stream::new(1, 1, Seat::default(), Window { messages: 1, bytes: 1, retry }))
}

fn local() -> Local {
    let message = Arc::new(Message::new(MessageId::new("m").unwrap(), "x"));
    let envelope = Envelope::new(EventName::new("e").unwrap(), message, Cursor::new("1").unwrap());
    Local { envelope: Arc::new(envelope), attempt: 1 }
}

fn token(epoch: u64) -> LeaseToken {
    let event = EventName::new("e").unwrap();
    LeaseToken { event, holder: Holder::Group(GroupName::default()), entry: "x".into(), epoch }
}

/// One delivery in the hands of a client, and when it runs out.
fn handed_off() -> (Arc<Stream>, u64, Instant) {
    let stream = stream();
    let start = Instant::now();
    let seq = stream.admit_local(start, local()).seq;
    stream.hand_off(start);
    (stream, seq, start + ACK_WAIT)
}

/// What the client does on a thread of its own, at the very moment at which the delivery runs out.
fn meanwhile(stream: &Arc<Stream>, seq: u64, now: Instant, verb: Verb) -> thread::JoinHandle<Settled> {
    let stream = Arc::clone(stream);
    thread::spawn(move || stream.settle_local(now, seq, &verb))
}

#[test]
fn an_ack_and_an_expiry_have_one_winner_in_every_interleaving() {
    for (verb, won) in
        [(Verb::Ack, Settled::Acked), (Verb::Reject { reason: "no".into() }, Settled::Rejected)]
    {
        model(move || {
            let (stream, seq, now) = handed_off();
            let client = meanwhile(&stream, seq, now, verb.clone());
            stream.expire(now);
            let back = stream.pop_return(now);
            let settled = client.join().unwrap();
            let back = back.or_else(|| stream.pop_return(now));
            assert!(settled == won || settled == Settled::Stale, "{settled:?}");
            assert_eq!(back.is_some(), settled == Settled::Stale, "it is done, or it comes back");
            assert!(back.is_none_or(|local| local.attempt == 2));
            assert_eq!((stream.in_flight(), stream.has_room()), (0, true));
        });
    }
}

#[test]
fn a_nack_and_an_expiry_bring_it_back_once_in_every_interleaving() {
    model(|| {
        let (stream, seq, now) = handed_off();
        let nack = Verb::Nack(crate::Nack { delay: Some(Duration::ZERO), error: None });
        let client = meanwhile(&stream, seq, now, nack);
        stream.expire(now);
        let settled = client.join().unwrap();
        assert!(matches!(settled, Settled::Nacked | Settled::Stale), "{settled:?}");
        assert_eq!(stream.pop_return(now).map(|local| local.attempt), Some(2));
        assert!(stream.pop_return(now).is_none());
    });
}

#[test]
fn two_words_on_one_delivery_have_one_winner_in_every_interleaving() {
    model(|| {
        let (stream, seq, now) = handed_off();
        let ack = meanwhile(&stream, seq, now, Verb::Ack);
        let extend = meanwhile(&stream, seq, now, Verb::Extend(ACK_WAIT));
        stream.expire(now);
        let (ack, extend) = (ack.join().unwrap(), extend.join().unwrap());
        let back = stream.pop_return(now).is_some();
        assert_eq!(back, ack == Settled::Stale, "extended is no end: {ack:?} {extend:?}");
        assert!(!back || extend == Settled::Stale);
        assert_eq!((stream.in_flight(), stream.next_expiry()), (0, None));
    });
}

#[test]
fn who_waits_for_room_is_told_in_every_interleaving() {
    model(|| {
        let stream = stream();
        let seq = stream.admit_lease(Instant::now(), token(1), 1).seq;
        let elsewhere = Arc::clone(&stream);
        let settled = thread::spawn(move || elsewhere.release([seq]));
        block_on(async {
            loop {
                let changed = stream.changed();
                if stream.has_room() {
                    return;
                }
                changed.await;
            }
        });
        settled.join().unwrap();
        assert_eq!(stream.in_flight(), 0);
    });
}

#[test]
fn a_client_that_leaves_gives_each_lease_back_once_in_every_interleaving() {
    model(|| {
        let stream = stream();
        let start = Instant::now();
        stream.admit_lease(start, token(1), 1);
        stream.hand_off(start);
        stream.admit_lease(start, token(2), 1);
        let elsewhere = Arc::clone(&stream);
        let clock = thread::spawn(move || elsewhere.expire(start + ACK_WAIT));
        let acked = stream.take_fresh();
        let back = stream.hand_back();
        clock.join().unwrap();
        let all: Vec<u64> =
            [acked, back.handed_off, back.kept_back].concat().iter().map(|token| token.epoch).collect();
        // A lease that ran out is the transport's again.
        assert!(all.is_sorted_by(|a, b| a != b) && all.len() <= 2, "{all:?}");
        assert_eq!((stream.in_flight(), stream.has_room(), stream.next_expiry()), (0, true, None));
    });
}
