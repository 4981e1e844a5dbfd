//! Connections that are cut at the worst moment.

use std::time::Duration;

use busgate_brokers::Nats;
use busgate_core::{Effect, Nack, Settled, Settlement, Transport, Verb};
use tokio::time::{sleep, timeout};

use super::{
    support::{PATIENCE, connect, next, publish, registered, settle, work_on},
    wire::Wire,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ack_that_was_written_down_but_not_heard_is_done_when_asked_again() {
    let server = Nats::v2_15().start().unwrap();
    let wire = Wire::to(server.address()).await;
    let near = connect(&server.url()).await;
    let far = connect(&format!("nats://{}?request_timeout=1s&ack_wait=20s", wire.address())).await;
    let event = registered(&far, "orders").await;
    let mut member = work_on(&far, &event).await;
    publish(&near, &event, "doubtful").await;
    let doubtful = next(&mut member).await;
    // From here on its record decides.
    wire.cut();
    publish(&far, &event, "certain").await;
    assert_eq!(next(&mut member).await.ack().await.unwrap(), Settled::Acked);
    wire.cut_before("\r\n+ACK\r\n");
    let token = doubtful.token().unwrap().clone();
    let refused = doubtful.ack().await.unwrap_err();
    assert!(refused.kind().is_transient() && refused.effect() == Effect::Unknown, "{refused:?}");
    let asking = async {
        loop {
            let again = Settlement { token: token.clone(), verb: Verb::Ack };
            match far.settle(vec![again]).await.pop().unwrap() {
                Ok(settled) => return settled,
                Err(error) => assert!(error.kind().is_transient(), "{error:?}"),
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    assert_eq!(timeout(PATIENCE, asking).await.unwrap(), Settled::Acked);
    let lag = near.lag(&event).await.unwrap().pop().unwrap();
    assert_eq!((lag.waiting, lag.in_flight), (Some(0), 0), "the server does not bring it back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_node_said_of_a_message_is_known_when_it_comes_back() {
    let server = Nats::v2_15().start().unwrap();
    let wire = Wire::to(server.address()).await;
    let near = connect(&server.url()).await;
    let far = connect(&format!("nats://{}", wire.address())).await;
    let event = registered(&far, "orders").await;
    let mut member = work_on(&far, &event).await;
    publish(&near, &event, "nacked").await;
    let nacked = next(&mut member).await;
    wire.close();
    let nack = Nack { delay: Some(Duration::from_secs(4)), error: None };
    assert_eq!(settle(&near, &nacked, Verb::Nack(nack)).await, Settled::Nacked);
    wire.open();
    publish(&near, &event, "marker").await;
    assert_eq!(next(&mut member).await.ack().await.unwrap(), Settled::Acked);
    assert_eq!(settle(&far, &nacked, Verb::Ack).await, Settled::Stale, "another node nacked it");
    let again = next(&mut member).await;
    assert_eq!((again.message.id.as_str(), again.attempt), ("nacked", 2));
    assert_eq!(again.ack().await.unwrap(), Settled::Acked);
}
