//! Faults of every kind at random moments, by a seed: no law is broken under load.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use tokio::time::Instant;

use crate::{
    load::{Load, Sum},
    proxy::{Action, Fault, Part, Place, Proxy, Side},
    stage::{Gateway, HUNG, connected, orders, patient, soon},
};

/// How long it goes on; `cargo xtask faults` builds the test with another number.
const SECONDS: &str = match option_env!("BUSGATE_FAULTS_SECONDS") {
    Some(seconds) => seconds,
    None => "8",
};

/// How long the faults of one seed go on.
const SEED_TIME: Duration = Duration::from_secs(4);

/// What may be waiting for a connection, somewhere in its first frames.
fn planned(seed: u64, connection: usize) -> Vec<Fault> {
    let mut random = Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(connection as u64));
    if random.bool() {
        return Vec::new();
    }
    let action = match random.u8(0..6) {
        0 => Action::Cut,
        1 => Action::Reset,
        2 => Action::HalfClose,
        3 => Action::Freeze,
        4 => Action::Ghost,
        _ => Action::Stall(Duration::from_millis(random.u64(1..700))),
    };
    let side = if random.bool() { Side::Client } else { Side::Server };
    let part = [Part::Before, Part::Within, Part::After][random.usize(0..3)];
    vec![Fault { place: Place { side, kind: None, nth: random.usize(0..200), part }, action }]
}

/// Load through one seed's faults; the gateway is on the log, and is killed as well.
async fn schedule(seed: u64) -> Sum {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::log(folder.path()).await;
    let proxy = Proxy::planned(gateway.address(), move |connection| planned(seed, connection)).await;
    let bus = connected(patient(proxy.url())).await;
    let orders = orders(&bus).await;
    let load = Load::new(Arc::clone(&bus), orders, &format!("seed-{seed}"), HUNG);
    let mut running = Some(gateway);
    let harm = async {
        let mut random = Rng::with_seed(seed);
        let end = Instant::now() + SEED_TIME;
        while Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(random.u64(10..300))).await;
            match random.u8(0..10) {
                0..3 => proxy.strike(Action::Reset),
                3..5 => proxy.strike(Action::Cut),
                5 => proxy.strike(Action::Freeze),
                6 => proxy.strike(Action::Ghost),
                7..9 => {
                    proxy.refuse(true);
                    proxy.strike(Action::Reset);
                    tokio::time::sleep(Duration::from_millis(random.u64(1..400))).await;
                    proxy.refuse(false);
                }
                _ => {
                    drop(running.take());
                    let next = Gateway::log(folder.path()).await;
                    proxy.point_at(next.address());
                    running = Some(next);
                }
            }
        }
    };
    let sum = load.under(harm).await;
    let sum = sum.unwrap_or_else(|broken| panic!("seed {seed} broke a law: {broken}"));
    soon(bus.close()).await.ok();
    sum
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_faults_break_no_law() {
    let end = Instant::now() + Duration::from_secs(SECONDS.parse().unwrap());
    for seed in 1.. {
        let sum = schedule(seed).await;
        println!("seed {seed}: {sum:?}");
        assert!(sum.messages > 0, "nothing came through");
        if Instant::now() >= end {
            break;
        }
    }
}
