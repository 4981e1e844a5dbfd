//! Publishing: what is repeated, what is not, and what the caller learns.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use busgate_client::{
    Effect, Error, ErrorKind, EventName, Message, MessageId, Receipt, Result, Transport, Turn,
};
use busgate_conformance::Overlay;
use busgate_transports_memory::{MemoryConfig, MemoryTransport};
use futures_util::future::join_all;
use tokio::sync::Semaphore;

use crate::stage::{
    self, Staged, address, client, connected, gateway, held, message, orders, publish, soon, until,
};

#[tokio::test]
async fn a_publish_that_timed_out_is_repeated_under_its_id_and_not_doubled() {
    let inner = Staged::new();
    let server = gateway(&inner).await;
    let builder = client(format!("http://{}", address(&server))).call_timeout(Duration::from_millis(300));
    let transport = soon(builder.connect()).await.unwrap();
    let event = orders(&transport).await;
    inner.next([stage::Turn::Late]);
    let receipt = publish(&transport, &event, "one").await.unwrap();
    assert!(receipt.duplicate, "the first try was taken");
    assert_eq!(*inner.came.lock(), [["one"], ["one"]]);
    assert_eq!(held(&transport, &event).await, ["one"]);
}

#[tokio::test]
async fn a_publish_that_never_is_answered_has_an_unknown_effect() {
    let inner = Staged::new();
    let server = gateway(&inner).await;
    let builder = client(format!("http://{}", address(&server)))
        .retry(1, Duration::from_millis(20), Duration::from_millis(20))
        .call_timeout(Duration::from_millis(200));
    let transport = soon(builder.connect()).await.unwrap();
    let event = orders(&transport).await;
    inner.next([stage::Turn::Late]);
    let error = publish(&transport, &event, "one").await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Timeout, Effect::Unknown));
}

#[tokio::test]
async fn a_partial_failure_never_repeats_the_successes() {
    let inner = Staged::new();
    let server = gateway(&inner).await;
    let transport = connected(&server).await;
    let event = orders(&transport).await;
    let later = Error::new(ErrorKind::Exhausted, "later").with_retry_after(Duration::from_millis(10));
    inner.next([stage::Turn::Half(later)]);
    let batch = ["a", "b", "c", "d"].map(message).to_vec();
    let answers = soon(transport.publish(&event, batch)).await;
    let ids: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().id.to_string()).collect();
    assert_eq!(ids, ["a", "b", "c", "d"]);
    assert_eq!(*inner.came.lock(), [vec!["a", "b", "c", "d"], vec!["b", "d"]]);
    assert_eq!(held(&transport, &event).await, ["a", "c", "b", "d"]);
}

#[tokio::test]
async fn a_permanent_error_of_one_is_its_own_and_not_repeated() {
    let inner = Staged::new();
    let server = gateway(&inner).await;
    let transport = connected(&server).await;
    let event = orders(&transport).await;
    inner.next([stage::Turn::Half(Error::invalid("no such thing"))]);
    let answers = soon(transport.publish(&event, ["a", "b", "c"].map(message).to_vec())).await;
    let kinds: Vec<_> = answers.iter().map(|answer| answer.as_ref().err().map(Error::kind)).collect();
    assert_eq!(kinds, [None, Some(ErrorKind::Invalid), None]);
    assert_eq!(inner.came.lock().len(), 1);
}

#[tokio::test]
async fn a_transient_failure_is_repeated_as_often_as_allowed() {
    let inner = Staged::new();
    let server = gateway(&inner).await;
    let transport = connected(&server).await;
    let event = orders(&transport).await;
    let busy = Error::new(ErrorKind::Exhausted, "busy").with_retry_after(Duration::from_millis(1));
    inner.next(vec![stage::Turn::Fail(busy); 3]);
    let error = publish(&transport, &event, "one").await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Exhausted, Effect::None));
    assert_eq!(*inner.came.lock(), [["one"], ["one"], ["one"]]);
}

#[tokio::test]
async fn messages_published_together_are_each_there_once() {
    let inner = Staged::new();
    let server = gateway(&inner).await;
    let transport = connected(&server).await;
    let event = orders(&transport).await;
    let ids: Vec<_> = (0..500).map(|number| format!("{number:03}")).collect();
    let receipts = join_all(ids.iter().map(|id| publish(&transport, &event, id))).await;
    assert!(receipts.iter().zip(&ids).all(|(receipt, id)| receipt.as_ref().unwrap().id.as_str() == id));
    let mut held = held(&transport, &event).await;
    held.sort_unstable();
    assert_eq!(held, ids);
    assert!(inner.came.lock().len() < 500, "they were not gathered");
}

#[tokio::test]
async fn everything_of_a_message_arrives_but_the_time_which_the_gateway_tells() {
    let server = gateway(&Staged::new()).await;
    let transport = connected(&server).await;
    let event = orders(&transport).await;
    let sent = Message {
        source: "shop ä".into(),
        metadata: [("Content-Type".to_owned(), "a/b".to_owned())].into(),
        key: Some("k".into()),
        content_type: Some("text/plain".into()),
        ..message("one")
    };
    soon(transport.publish(&event, vec![sent.clone()])).await.remove(0).unwrap();
    let request =
        busgate_client::ReadRequest { start: busgate_client::Start::Beginning, limit: 1, max_bytes: 1 };
    let page = soon(transport.read(&event, request)).await.unwrap();
    let (_, read) = page.messages.first().unwrap();
    assert!(read.timestamp.as_nanos() > 0);
    assert_eq!(**read, Message { timestamp: read.timestamp, ..sent });
}

#[tokio::test]
async fn what_is_too_large_is_refused_alone_and_the_limit_passes() {
    let inner = Staged::new();
    let server = gateway(&inner).await;
    let transport = connected(&server).await;
    let event = orders(&transport).await;
    let most = transport.max_payload_bytes();
    let sized = |size: usize| Message::new(MessageId::generate(), vec![b'x'; size]);
    let answers = soon(transport.publish(&event, vec![sized(most), sized(most + 1), sized(1)])).await;
    let kinds: Vec<_> = answers.iter().map(|answer| answer.as_ref().err().map(Error::kind)).collect();
    assert_eq!(kinds, [None, Some(ErrorKind::TooLarge), None]);
}

#[tokio::test]
async fn a_batch_over_many_frames_arrives_in_order() {
    let server = gateway(&Staged::new()).await;
    let transport = connected(&server).await;
    let event = orders(&transport).await;
    let sized =
        |number: usize| Message::new(MessageId::new(format!("{number:02}")).unwrap(), vec![b'x'; 512 * 1024]);
    let answers = soon(transport.publish(&event, (0..40).map(sized).collect())).await;
    assert!(answers.iter().all(Result::is_ok));
    let mut ids = Vec::new();
    let mut start = busgate_client::Start::Beginning;
    loop {
        let request = busgate_client::ReadRequest { start, limit: 100, max_bytes: 4 << 20 };
        let page = soon(transport.read(&event, request)).await.unwrap();
        ids.extend(page.messages.iter().map(|(_, message)| message.id.to_string()));
        if page.end {
            break;
        }
        start = busgate_client::Start::After(page.next);
    }
    assert_eq!(ids, (0..40).map(|number| format!("{number:02}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_event_that_takes_its_time_holds_up_no_other() {
    let inner = Staged::new();
    let server = gateway(&inner).await;
    let transport = connected(&server).await;
    let slow = orders(&transport).await;
    let other = busgate_client::EventName::new("other").unwrap();
    soon(transport.register(&other, &busgate_client::EventConfig::default())).await.unwrap();
    inner.next([stage::Turn::Late]);
    let mut late = Box::pin(publish(&transport, &slow, "late"));
    tokio::select! {
        _ = &mut late => panic!("it was not late"),
        () = crate::stage::until(|| inner.came.lock().len() == 1) => {}
    }
    publish(&transport, &other, "in time").await.unwrap();
}

#[tokio::test]
async fn an_event_that_is_not_there_is_not_found_at_once() {
    let inner = Staged::new();
    let server = gateway(&inner).await;
    let transport = connected(&server).await;
    let event = busgate_client::EventName::new("nobody").unwrap();
    assert_eq!(publish(&transport, &event, "one").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(soon(transport.publish(&event, Vec::new())).await.is_empty());
}

/// A memory that has the order of its messages at once, and syncs each batch when it may.
#[derive(Debug)]
struct Syncing {
    inner: Arc<dyn Transport>,
    came: AtomicUsize,
    synced: Semaphore,
}

#[async_trait]
impl Overlay for Syncing {
    fn beneath(&self) -> &Arc<dyn Transport> {
        &self.inner
    }

    async fn publish_in_turn(
        &self,
        event: &EventName,
        batch: Vec<Message>,
        turn: Turn,
    ) -> Vec<Result<Receipt>> {
        self.came.fetch_add(1, Ordering::SeqCst);
        drop(turn);
        self.synced.acquire().await.unwrap().forget();
        self.inner.publish(event, batch).await
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_batch_does_not_wait_for_the_answers_to_the_one_before() {
    let inner: Arc<dyn Transport> = MemoryTransport::new(MemoryConfig::default());
    // The first goes alone: whether it comes to anything is not known yet.
    let inner = Arc::new(Syncing { inner, came: AtomicUsize::new(0), synced: Semaphore::new(1) });
    let came = |batches| inner.came.load(Ordering::SeqCst) == batches;
    let server = gateway(&inner).await;
    let transport = connected(&server).await;
    let event = orders(&transport).await;
    publish(&transport, &event, "first").await.unwrap();
    let second = async {
        until(|| came(2)).await;
        publish(&transport, &event, "two").await
    };
    let syncing = async {
        until(|| came(3)).await;
        inner.synced.add_permits(2);
    };
    let (one, two, ()) = tokio::join!(publish(&transport, &event, "one"), second, syncing);
    assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
}
