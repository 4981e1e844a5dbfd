//! One fault at every frame of a session, of either side: the session must not notice.

use std::{sync::Arc, time::Duration};

use busgate_core::Transport;
use futures_util::{StreamExt, stream};

use crate::{
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
    let runs = places.iter().enumerate().map(|(number, place)| {
        let (gateway, fault) = (&gateway, Fault { place: *place, action });
        async move {
            let (verdict, proxy) = session(gateway, &format!("session-{number}"), Some(fault)).await;
            let broken = verdict.err().map(|broken| {
                let seen = proxy.seen(0, place.side);
                format!("{action:?} at frame {} of the {:?} after {seen:?}: {broken}", place.nth, place.side)
            });
            (proxy.struck(), broken)
        }
    });
    let outcomes: Vec<_> = stream::iter(runs).buffer_unordered(TOGETHER).collect().await;
    let broken: Vec<_> = outcomes.iter().filter_map(|(_, broken)| broken.as_ref()).collect();
    assert!(broken.is_empty(), "{} of {} sessions broke: {broken:#?}", broken.len(), outcomes.len());
    let struck: usize = outcomes.iter().map(|(struck, _)| struck).sum();
    assert!(struck + 3 * MORE >= places.len(), "only {struck} of {} faults happened", places.len());
    until("no session is left", || gateway.stats().sessions == 0 && gateway.stats().in_flight == 0).await;
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
