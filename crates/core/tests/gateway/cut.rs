//! A transport whose subscriptions can be cut off for a while.

use std::sync::Arc;

use async_trait::async_trait;
use busgate_conformance::{Overlay, overlaid};
use busgate_core::{
    AckMode, End, Error, ErrorKind, EventName, Outgoing, Result, Start, SubscribeOptions, SubscribeRequest,
    Subscription, Transport,
};
use futures_util::StreamExt;
use tokio::{
    sync::watch,
    time::{Duration, Instant, sleep},
};

use crate::stage::{
    broadcast, config, gateway_over, memory, next_text, publish, quiet, register, subscribe, within,
};

#[derive(Debug)]
struct Cut {
    inner: Arc<dyn Transport>,
    whole: watch::Sender<bool>,
}

impl Cut {
    fn new() -> Arc<Self> {
        Arc::new(Self { inner: memory(), whole: watch::Sender::new(true) })
    }
}

fn auto(start: Start) -> SubscribeRequest {
    SubscribeRequest { ack: AckMode::Auto, start, ..broadcast() }
}

fn lost() -> Error {
    Error::unavailable("cut off")
}

#[async_trait]
impl Overlay for Cut {
    fn beneath(&self) -> &Arc<dyn Transport> {
        &self.inner
    }

    async fn subscribe(&self, event: &EventName, options: SubscribeOptions) -> Result<Subscription> {
        let mut whole = self.whole.subscribe();
        if !*whole.borrow() {
            return Err(lost());
        }
        let items = Arc::clone(&self.inner).subscribe(event, options).await?;
        let cut = async move {
            let _ = whole.wait_for(|whole| !whole).await;
        };
        let end = futures_util::stream::once(async { Err(lost()) });
        Ok(Subscription::new(items.take_until(Box::pin(cut)).chain(end)))
    }
}

#[tokio::test(start_paused = true)]
async fn a_back_end_lost_for_a_moment_is_not_noticed() {
    let transport = Cut::new();
    let gateway = gateway_over(overlaid(Arc::clone(&transport)), config());
    register(&gateway, "e").await;
    let mut follower = subscribe(&gateway, auto(Start::Latest)).await;
    // Each time anew: what is over counts no more.
    for round in 0..5 {
        publish(&gateway, "e", &format!("before {round}")).await;
        assert_eq!(next_text(&mut follower).await, format!("before {round}"));
        transport.whole.send_replace(false);
        sleep(Duration::from_secs(1)).await;
        publish(&gateway, "e", &format!("during {round}")).await;
        quiet(&mut follower, Duration::from_secs(5)).await;
        transport.whole.send_replace(true);
        assert_eq!(next_text(&mut follower).await, format!("during {round}"));
    }
    quiet(&mut follower, Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn a_back_end_lost_for_long_ends_followers_who_may_come_back() {
    let transport = Cut::new();
    let gateway = gateway_over(overlaid(Arc::clone(&transport)), config());
    register(&gateway, "e").await;
    publish(&gateway, "e", "1").await;
    let mut follower = subscribe(&gateway, auto(Start::Beginning)).await;
    assert_eq!(next_text(&mut follower).await, "1");
    transport.whole.send_replace(false);
    let cut = Instant::now();
    let end = within(follower.next()).await;
    assert!(
        matches!(&end, Outgoing::End(End::Failed(error)) if error.kind() == ErrorKind::Unavailable),
        "{end:?}"
    );
    assert!(cut.elapsed() > Duration::from_secs(9), "{:?}", cut.elapsed());
    transport.whole.send_replace(true);
    let mut again = subscribe(&gateway, auto(Start::Beginning)).await;
    assert_eq!(next_text(&mut again).await, "1");
}
