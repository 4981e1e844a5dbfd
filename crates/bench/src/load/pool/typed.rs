//! The same load by the typed bus: values as JSON, a handler that does nothing, acks left to the bus.

use std::{sync::Arc, time::Duration};

use busgate_core::{Bus, Transport, bus::Event};
use futures_util::future::join_all;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::{sync::Semaphore, time::Instant};

use super::{EVENT, GROUP, Sizes};
use crate::Failure;

/// What a value's JSON occupies beside its filling, with a time of seven digits.
const OVERHEAD: usize = 28;

#[derive(Debug, Serialize, Deserialize)]
struct Work {
    sent: u64,
    filling: String,
}

#[derive(Debug)]
struct Run {
    started: Instant,
    room: Semaphore,
    micros: Mutex<Vec<u64>>,
}

/// The microseconds from before each publish until it was handled. All is acked when it answers.
pub(super) async fn drive(transport: Arc<dyn Transport>, sizes: Sizes) -> Result<Vec<u64>, Failure> {
    let bus = Bus::new(transport);
    let event = bus.event::<Work>(EVENT)?;
    event.register().await?;
    let room = Semaphore::new(sizes.in_flight);
    let run = Arc::new(Run { started: Instant::now(), room, micros: Mutex::default() });
    let mut members = Vec::new();
    for _ in 0..sizes.members {
        let run = Arc::clone(&run);
        let handler = move |work: Work, _| {
            let run = Arc::clone(&run);
            async move {
                run.handled(work.sent);
                Ok(())
            }
        };
        members.push(event.subscribe().group(GROUP).handle(handler).await?);
    }
    let publishers = join_all((0..sizes.in_flight).map(|_| run.publish(&event, sizes)));
    for published in publishers.await {
        published?;
    }
    for member in members {
        member.stop().await;
    }
    Ok(std::mem::take(&mut *run.micros.lock()))
}

impl Run {
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn handled(&self, sent: u64) {
        self.room.add_permits(1);
        self.micros.lock().push(self.now() - sent);
    }

    async fn publish(&self, event: &Event<Work>, sizes: Sizes) -> Result<(), Failure> {
        let filling = "x".repeat(sizes.payload.saturating_sub(OVERHEAD));
        let until = self.started + Duration::from_secs_f64(sizes.seconds);
        while Instant::now() < until {
            self.room.acquire().await?.forget();
            event.publish(&Work { sent: self.now(), filling: filling.clone() }).await?;
        }
        Ok(())
    }
}
