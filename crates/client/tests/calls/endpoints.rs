//! Several gateways: who is asked when one does not answer.

use std::{sync::Arc, time::Duration};

use busgate_client::{Error, Transport};

use crate::stage::{Staged, address, any, client, gateway, gateway_at, held, orders, publish, soon, until};

fn url(server: &busgate::Server) -> String {
    format!("http://{}", address(server))
}

#[tokio::test]
async fn the_next_endpoint_is_dialled_when_the_first_is_gone() {
    let inner = Staged::new();
    let (first, second) = (gateway(&inner).await, gateway(&inner).await);
    let transport = soon(client(url(&first)).endpoint(url(&second)).connect()).await.unwrap();
    let event = orders(&transport).await;
    publish(&transport, &event, "first").await.unwrap();
    soon(first.shutdown()).await.unwrap();
    publish(&transport, &event, "second").await.unwrap();
    assert_eq!(held(&transport, &event).await, ["first", "second"]);
}

#[tokio::test]
async fn it_comes_back_to_the_first_when_that_works_again() {
    let (one, other) = (Staged::new(), Staged::new());
    let (first, second) = (gateway(&one).await, gateway(&other).await);
    let home = address(&first);
    let transport = soon(client(url(&first)).endpoint(url(&second)).connect()).await.unwrap();
    let event = orders(&transport).await;
    soon(first.shutdown()).await.unwrap();
    orders(&transport).await;
    publish(&transport, &event, "away").await.unwrap();
    assert_eq!(other.came.lock().len(), 1);
    let _first = gateway_at(home, &one, "").await;
    let mut tries = 0;
    while one.came.lock().is_empty() {
        tries += 1;
        publish(&transport, &event, &format!("home {tries}")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(tries < 1000, "it never came back");
    }
}

#[tokio::test]
async fn a_gateway_that_answers_but_does_not_work_gives_way() {
    let (broken, works) = (Staged::new(), Staged::new());
    let (first, second) = (gateway(&broken).await, gateway(&works).await);
    let transport = soon(client(url(&first)).endpoint(url(&second)).connect()).await.unwrap();
    *broken.unlisted.lock() = Some(Error::unavailable("no back end").with_retry_after(Duration::ZERO));
    for _ in 0..2 {
        _ = soon(transport.events()).await;
    }
    soon(transport.events()).await.unwrap();
}

#[tokio::test]
async fn an_endpoint_that_is_never_there_costs_nothing_but_a_dial() {
    let gone = { address(&gateway(&Staged::new()).await) };
    let server = gateway(&Staged::new()).await;
    let builder = client(format!("http://{gone}")).endpoint(url(&server));
    let transport = soon(builder.connect()).await.unwrap();
    soon(transport.events()).await.unwrap();
}

#[tokio::test]
async fn all_gone_is_told_and_one_back_is_found() {
    let inner = Staged::new();
    let (first, second) = (gateway(&inner).await, gateway(&inner).await);
    let home = address(&second);
    let builder = client(url(&first)).endpoint(url(&second)).no_circuit_breaker();
    let transport = soon(builder.connect()).await.unwrap();
    soon(first.shutdown()).await.unwrap();
    soon(second.shutdown()).await.unwrap();
    until(|| !transport.is_ready()).await;
    assert!(soon(transport.events()).await.is_err());
    let _second = gateway_at(home, &inner, "").await;
    soon(transport.ready()).await.unwrap();
    soon(Arc::clone(&transport).events()).await.unwrap();
    assert_ne!(any().port(), home.port());
}
