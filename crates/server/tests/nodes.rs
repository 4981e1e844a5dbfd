//! Gateway processes side by side on one broker, which is all that they share: what one delivered another settles, and
//! what was answered holds, whoever is killed, drained, paused or cut off in between.
//!
//! `cargo xtask test` starts the brokers that are shared; a law that harms a broker starts its own.

#[cfg(test)]
#[path = "nodes/backend.rs"]
mod backend;
#[cfg(test)]
#[path = "nodes/broker_faults.rs"]
mod broker_faults;
#[cfg(test)]
#[allow(dead_code, reason = "shared with the tests of HTTP")]
#[path = "http/client.rs"]
mod client;
#[cfg(test)]
#[allow(dead_code, reason = "shared with the fault suite of the client")]
#[path = "../../client/tests/faults/ledger.rs"]
mod ledger;
#[cfg(test)]
#[allow(dead_code, reason = "shared with the fault suite of the client")]
#[path = "../../client/tests/faults/load.rs"]
mod load;
#[cfg(test)]
#[path = "nodes/measures.rs"]
mod measures;
#[cfg(test)]
#[path = "nodes/node.rs"]
mod node;
#[cfg(test)]
#[path = "nodes/restarts.rs"]
mod restarts;
#[cfg(test)]
#[path = "nodes/settling.rs"]
mod settling;

/// One test a law and broker.
macro_rules! laws {
    ([$($broker:ident $backend:ident),+] $laws:tt) => {$(laws!(@ $broker $backend $laws);)+};
    (@ $broker:ident $backend:ident {$($part:ident: $($law:ident),+;)+}) => {
        #[cfg(test)]
        mod $broker {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $law() {
                    crate::$part::$law(crate::backend::Backend::$backend).await;
                }
            )+)+
        }
    };
}

laws! { [redis Redis, nats Nats, kafka Kafka] {
    settling: acked_through_another_node_it_is_done, acked_after_its_node_was_killed_it_is_done,
        nacked_through_another_node_it_comes_back, nacked_after_its_node_was_killed_it_comes_back,
        acked_through_another_node_the_next_comes_at_once, extended_through_another_node_it_stays, a_stale_ack_through_another_node_changes_nothing,
        a_stale_ack_after_its_node_was_killed_changes_nothing,
        any_door_settles_what_another_nodes_door_delivered;
    measures: what_the_broker_does_is_measured;
    restarts: a_node_killed_under_load_loses_and_repeats_nothing,
        a_rolling_restart_loses_and_dead_letters_nothing;
    broker_faults: while_the_broker_is_away_the_answers_say_so, a_broker_that_stands_still_is_waited_for,
        a_broker_that_restarts_is_found_again, a_broker_that_is_killed_keeps_what_was_answered,
        a_link_that_goes_down_and_up_is_survived, a_link_that_swallows_everything_is_found_out,
        a_slow_link_delivers_each_once, a_broker_that_is_away_at_the_start_is_told_or_waited_for;
} }
