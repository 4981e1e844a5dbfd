//! One fault at every frame of a session, of either side: the session must not notice.

use std::{sync::Arc, time::Duration};

use busgate_core::Transport;
use futures_util::{StreamExt, stream};

use crate::{
    frame::Kind,
    ledger::Verdict,
    proxy::{Action, Fault, Part, Place, Proxy, Side},
    session::Session,
    stage::{Gateway, HUNG, PATIENCE, event, patient, until},
};

/// How many sessions run at a time. Most of them wait.
const TOGETHER: usize = 16;

/// How many frames more than in the rehearsal a session may have.
const MORE: usize = 4;

/// One session through a proxy that harms its first connection.
async fn session(gateway: &Gateway, name: &str, fault: Option<Fault>) -> (Verdict, Proxy) {
    let faults: Vec<_> = fault.into_iter().collect();
    let plan = move |connection| if connection == 0 { faults.clone() } else { Vec::new() };
    let proxy = Proxy::planned(gateway.address(), plan).await;
    let verdict = async {
        let connecting = tokio::time::timeout(HUNG, patient(proxy.url()).connect()).await;
        let bus = connecting.map_err(|_| "connecting hung".to_owned())?;
        let bus: Arc<dyn Transport> = bus.map_err(|error| format!("connecting was answered {error}"))?;
        let inner = Arc::clone(gateway.inner());
        let session = Session::new(bus, inner, event(name), HUNG, PATIENCE + PATIENCE);
        session.run().await?;
        session.close().await
    };
    (verdict.await, proxy)
}

/// How many frames each side sends when nothing happens.
async fn rehearsed(gateway: &Gateway) -> [(Side, usize); 2] {
    let (verdict, proxy) = session(gateway, "rehearsal", None).await;
    verdict.unwrap();
    assert_eq!(proxy.connections(), 1, "a session has one connection");
    [Side::Client, Side::Server].map(|side| (side, proxy.seen(0, side).len()))
}

/// `action` at every frame, before it, within it or after it.
async fn at_every_frame(action: Action, part: Part) {
    let gateway = Gateway::memory().await;
    let places: Vec<_> = rehearsed(&gateway)
        .await
        .into_iter()
        .flat_map(|(side, frames)| (0..frames + MORE).map(move |nth| Place { side, kind: None, nth, part }))
        .collect();
    let (broken, struck) = at_all(&gateway, action, &places).await;
    assert!(broken.is_empty(), "{} of {} sessions broke: {broken:#?}", broken.len(), places.len());
    // No two sessions have quite the same frames: what is gathered in one goes in two in another.
    let rehearsed = places.len() - 2 * MORE;
    assert!(struck * 2 >= rehearsed, "only {struck} of {rehearsed} faults happened");
    until("no session is left", || gateway.stats().sessions == 0 && gateway.stats().in_flight == 0).await;
}

/// One session for each place, in which `action` happens there: what was broken, and how often it happened.
async fn at_all(gateway: &Gateway, action: Action, places: &[Place]) -> (Vec<String>, usize) {
    let runs = places.iter().enumerate().map(|(number, place)| async move {
        let fault = Fault { place: *place, action };
        let (verdict, proxy) = session(gateway, &format!("session-{number}"), Some(fault)).await;
        let broken = verdict.err().map(|broken| {
            let seen = proxy.seen(0, place.side);
            format!("{action:?} at frame {} of the {:?} after {seen:?}: {broken}", place.nth, place.side)
        });
        (broken, proxy.struck())
    });
    let outcomes: Vec<_> = stream::iter(runs).buffer_unordered(TOGETHER).collect().await;
    let struck = outcomes.iter().map(|(_, struck)| struck).sum();
    (outcomes.into_iter().filter_map(|(broken, _)| broken).collect(), struck)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_at_every_frame_is_not_noticed() {
    at_every_frame(Action::Cut, Part::Before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_within_every_frame_is_not_noticed() {
    at_every_frame(Action::Cut, Part::Within).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reset_at_every_frame_is_not_noticed() {
    at_every_frame(Action::Reset, Part::Before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reset_within_every_frame_is_not_noticed() {
    at_every_frame(Action::Reset, Part::Within).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_closed_at_every_frame_is_not_noticed() {
    at_every_frame(Action::HalfClose, Part::Before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_at_every_frame_is_not_noticed() {
    at_every_frame(Action::Stall(Duration::from_secs(1)), Part::Before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_at_every_frame_is_found_out() {
    at_every_frame(Action::Freeze, Part::Before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ghost_from_every_frame_keeps_nothing() {
    at_every_frame(Action::Ghost, Part::Before).await;
}

/// Only a second subscription on one stream is refused, as it is when a client means it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_that_arrives_twice_does_nothing_twice() {
    let gateway = Gateway::memory().await;
    let (verdict, proxy) = session(&gateway, "rehearsal", None).await;
    verdict.unwrap();
    let data = proxy.seen(0, Side::Client).into_iter().filter(|kind| *kind == Kind::Data).count();
    let places = (0..data)
        .map(|nth| Place { side: Side::Client, kind: Some(Kind::Data), nth, part: Part::Before })
        .collect::<Vec<_>>();
    let (outcomes, _) = at_all(&gateway, Action::Duplicate, &places).await;
    let refused = "a subscription ended with invalid: this stream has its subscription";
    let broken: Vec<_> = outcomes.iter().filter(|broken| !broken.ends_with(refused)).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    assert_eq!(outcomes.len(), 2, "the session subscribes twice: {outcomes:#?}");
}
