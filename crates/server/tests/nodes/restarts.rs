//! Nodes that go away and come back while everybody is at work.

use std::sync::Arc;

use busgate_client::{EventConfig, EventName, Transport};
use futures_util::future::join_all;
use tokio::task::block_in_place;

use crate::{
    backend::Backend,
    load::{Load, Sum},
    node::{Node, PATIENCE},
};

/// How many publishes are answered between two blows.
pub(crate) const PROGRESS: usize = 60;

/// How many attempts a message has before it is a dead letter, unless told otherwise.
const MAX_DELIVER: u32 = 5;

/// Load that is spread over all nodes. A client goes to another node when its own is gone.
pub(crate) async fn load_over(nodes: &[Node]) -> Load {
    let clients = (0..nodes.len()).map(|at| async move {
        let others: Vec<&Node> = nodes[at + 1..].iter().chain(&nodes[..at]).collect();
        nodes[at].remote(&others).await
    });
    let buses: Vec<Arc<dyn Transport>> = join_all(clients).await;
    let orders = EventName::new("orders").unwrap();
    buses[0].register(&orders, &EventConfig::default()).await.unwrap();
    Load::over(buses, orders, "run", PATIENCE)
}

/// The load while each node in turn goes away by `end` and comes back.
async fn in_turn(backend: Backend, count: usize, end: impl Fn(&mut Node)) -> Sum {
    let url = backend.shared();
    let mut nodes: Vec<Node> = (0..count).map(|_| block_in_place(|| Node::serve(&url))).collect();
    let load = load_over(&nodes).await;
    let harm = async {
        for node in &mut nodes {
            load.advance(PROGRESS).await;
            block_in_place(|| end(node));
            load.advance(PROGRESS).await;
            block_in_place(|| node.start_again());
        }
        load.advance(PROGRESS).await;
    };
    Box::pin(load.under(harm)).await.unwrap()
}

pub(crate) async fn a_node_killed_under_load_loses_and_repeats_nothing(backend: Backend) {
    let sum = in_turn(backend, 2, Node::kill).await;
    assert!(sum.messages > 4 * PROGRESS, "{sum:?}");
}

pub(crate) async fn a_rolling_restart_loses_and_dead_letters_nothing(backend: Backend) {
    let sum = in_turn(backend, 3, Node::drain).await;
    assert!(sum.messages > 6 * PROGRESS && sum.attempts < MAX_DELIVER, "{sum:?}");
}
