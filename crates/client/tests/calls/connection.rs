//! The connection: its states, its end, and names whose address changes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use busgate_client::{ConnState, Effect, Error, ErrorKind, Transport};
use parking_lot::Mutex;
use tokio::{io::AsyncWriteExt, net::TcpListener};

use crate::stage::{
    Names, Staged, address, any, client, connected, gateway, held, orders, publish, soon, until,
};

#[tokio::test]
async fn every_state_is_told_in_order() {
    let server = gateway(&Staged::new()).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    let builder =
        client(format!("http://{}", address(&server))).on_state(move |state| told.lock().push(state));
    let transport = soon(builder.connect()).await.unwrap();
    assert!(transport.is_ready());
    soon(server.shutdown()).await.unwrap();
    until(|| transport.state() == ConnState::Disconnected).await;
    soon(transport.close()).await.unwrap();
    let seen = seen.lock().clone();
    assert_eq!(seen[..3], [ConnState::Connecting, ConnState::Connected, ConnState::Disconnected]);
    assert_eq!(seen.last(), Some(&ConnState::Closed));
    assert_eq!(seen.iter().filter(|state| **state == ConnState::Connected).count(), 1);
}

#[tokio::test]
async fn what_is_closed_answers_unavailable_at_once() {
    let server = gateway(&Staged::new()).await;
    let transport = connected(&server).await;
    let event = orders(&transport).await;
    soon(transport.close()).await.unwrap();
    soon(transport.close()).await.unwrap();
    assert_eq!(publish(&transport, &event, "one").await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(transport.events().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(transport.ready().await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_gateway_that_is_not_there_is_unavailable_without_effect() {
    let gone = { address(&gateway(&Staged::new()).await) };
    let error = soon(client(format!("http://{gone}")).connect()).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unavailable, Effect::None));
    assert!(error.message().contains(&gone.to_string()), "{error}");
}

#[tokio::test]
async fn a_connection_that_broke_is_made_anew_for_the_next_call() {
    let inner = Staged::new();
    let server = gateway(&inner).await;
    let names = Names::lead_to(address(&server));
    let transport = soon(client("http://bus").connector(names.clone()).connect()).await.unwrap();
    let event = orders(&transport).await;
    publish(&transport, &event, "before").await.unwrap();
    let next = gateway(&inner).await;
    names.change(address(&next));
    soon(server.shutdown()).await.unwrap();
    publish(&transport, &event, "after").await.unwrap();
    assert_eq!(held(&transport, &event).await, ["before", "after"]);
    assert_eq!(transport.state(), ConnState::Connected);
}

#[tokio::test]
async fn a_connection_comes_back_by_itself() {
    let inner = Staged::new();
    let server = gateway(&inner).await;
    let names = Names::lead_to(address(&server));
    let transport = soon(client("http://bus").connector(names.clone()).connect()).await.unwrap();
    let next = gateway(&inner).await;
    soon(server.shutdown()).await.unwrap();
    until(|| !transport.is_ready()).await;
    names.change(address(&next));
    soon(transport.ready()).await.unwrap();
}

#[tokio::test]
async fn a_permanent_error_ends_a_call_at_once_and_a_transient_one_does_not() {
    let inner = Staged::new();
    let server = gateway(&inner).await;
    let transport = connected(&server).await;
    for (kind, asked) in [(ErrorKind::Denied, 1), (ErrorKind::Internal, 1), (ErrorKind::Unavailable, 3)] {
        inner.listed.store(0, Ordering::SeqCst);
        let error = Error::new(kind, "no").with_retry_after(Duration::from_millis(1));
        *inner.unlisted.lock() = Some(error);
        assert_eq!(soon(transport.events()).await.unwrap_err().kind(), kind);
        assert_eq!(inner.listed.load(Ordering::SeqCst), asked, "{kind}");
    }
}

#[tokio::test]
async fn a_read_has_no_effect_however_it_fails() {
    let inner = Staged::new();
    let server = gateway(&inner).await;
    let transport = connected(&server).await;
    let lost = Error::unavailable("lost").with_effect(Effect::Unknown).with_retry_after(Duration::ZERO);
    *inner.unlisted.lock() = Some(lost);
    assert_eq!(soon(transport.events()).await.unwrap_err().effect(), Effect::None);
}

#[tokio::test]
async fn calls_give_what_the_gateway_says() {
    let server = gateway(&Staged::new()).await;
    let transport = connected(&server).await;
    let event = orders(&transport).await;
    assert_eq!(soon(transport.events()).await.unwrap().len(), 1);
    assert!(soon(transport.lag(&event)).await.unwrap().is_empty());
    assert_eq!(soon(transport.health()).await.status, busgate_client::HealthStatus::Healthy);
    assert!(transport.capabilities().replay && !transport.gateway_version().is_empty());
    soon(transport.unregister(&event)).await.unwrap();
    assert_eq!(soon(transport.unregister(&event)).await.unwrap_err().kind(), ErrorKind::NotFound);
}

/// Takes connections, does `answer` to each, and counts them.
async fn impostor(
    answer: &'static [u8],
) -> (std::net::SocketAddr, Arc<AtomicUsize>, tokio::task::JoinSet<()>) {
    let listener = TcpListener::bind(any()).await.unwrap();
    let (address, taken) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&taken);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            _ = stream.write_all(answer).await;
        }
    });
    (address, taken, tasks)
}

#[tokio::test]
async fn who_takes_connections_and_is_no_gateway_is_not_connected_to() {
    for answer in [&b""[..], b"HTTP/1.1 400 Bad Request\r\n\r\n"] {
        let (address, taken, _tasks) = impostor(answer).await;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&seen);
        let builder = client(format!("http://{address}")).on_state(move |state| told.lock().push(state));
        let error = soon(builder.connect()).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Unavailable, Effect::None), "{error}");
        assert!(!seen.lock().contains(&ConnState::Connected));
        assert!(taken.load(Ordering::SeqCst) < 20, "it was dialled too often");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_no_gateway_leaves_it_to_the_next() {
    let (impostor, _, _tasks) = impostor(b"").await;
    let server = gateway(&Staged::new()).await;
    let builder = client(format!("http://{impostor}")).endpoint(format!("http://{}", address(&server)));
    soon(builder.connect()).await.unwrap();
}

#[tokio::test]
async fn a_transport_that_is_let_go_of_leaves_no_connection() {
    let server = gateway(&Staged::new()).await;
    let transport = connected(&server).await;
    let event = orders(&transport).await;
    publish(&transport, &event, "one").await.unwrap();
    let states = transport.states();
    drop(transport);
    until(|| *states.borrow() == ConnState::Closed).await;
    // A gateway that still had a connection would wait for it.
    soon(server.shutdown()).await.unwrap();
}
