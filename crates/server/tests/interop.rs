//! What native clients of a broker and the doors of a gateway see of each other: the real binary on one side, redis-py,
//! nats-py and confluent-kafka on the other, and a real broker between them.
//!
//! `cargo xtask test` starts the brokers and installs the clients; a missing one fails the test.

#[cfg(test)]
#[path = "outside/gateway.rs"]
#[allow(dead_code, reason = "the scenarios of other clients need more of it")]
mod gateway;

#[cfg(test)]
use std::path::{Path, PathBuf};

#[cfg(test)]
use busgate_brokers::Kind;

/// One test a scenario: `module: broker "script" => scenario, …`.
macro_rules! scenarios {
    ($($module:ident: $kind:ident $script:literal => $($scenario:ident),+;)+) => {$(
        #[cfg(test)]
        mod $module {
            $(#[test]
            fn $scenario() {
                super::judge(super::Kind::$kind, $script, stringify!($scenario));
            })+
        }
    )+};
}

scenarios! {
    redis_7_0: Redis70 "native_redis.py" =>
        what_is_added_arrives_on_every_door, without_a_payload_all_fields_are_it,
        what_the_doors_publish_reads_naturally, a_native_group_is_undisturbed, a_mapped_key_is_the_event,
        a_prefix_stands_in_front;
    redis_8_2: Redis82 "native_redis.py" =>
        what_is_added_arrives_on_every_door, what_the_doors_publish_reads_naturally, a_native_group_is_undisturbed;
    valkey_9: Valkey9 "native_redis.py" =>
        what_is_added_arrives_on_every_door, what_the_doors_publish_reads_naturally, a_native_group_is_undisturbed;
    nats_2_15: Nats215 "native_nats.py" =>
        what_is_published_arrives_on_every_door, what_the_doors_publish_reads_naturally, a_native_consumer_is_undisturbed, a_mapped_subject_is_the_event,
        a_stream_that_covers_the_subject_is_used, a_prefix_stands_in_front;
    nats_2_9: Nats29 "native_nats.py" =>
        what_is_published_arrives_on_every_door, what_the_doors_publish_reads_naturally,
        a_native_consumer_is_undisturbed, a_mapped_subject_is_the_event;
    kafka: Kafka "native_kafka.py" =>
        what_is_produced_arrives_on_every_door, every_compression_is_read, what_was_aborted_does_not_arrive,
        what_the_doors_publish_reads_naturally, a_native_group_is_undisturbed, a_mapped_topic_is_the_event,
        a_prefix_stands_in_front;
}

/// Where the scripts lie.
#[cfg(test)]
fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop")
}

/// Runs a scenario against a gateway of its own on the broker that all tests share.
#[cfg(test)]
fn judge(kind: Kind, script: &str, scenario: &str) {
    let broker = busgate_brokers::shared(kind);
    let own = uuid::Uuid::new_v4().simple().to_string();
    let native = format!("Legacy-{own}.shop.orders_v1");
    // A subject is named with its stream.
    let native = if broker.starts_with("nats") { format!("LEGACY_{own}/{native}") } else { native };
    let mapped = format!("interop.mapped.{own}={native}");
    let prefix = format!("interop-{own}.");
    let transport = match scenario.split_once('_') {
        Some(("a", rest)) if rest.starts_with("mapped") => format!("{broker}?map.{mapped}"),
        Some(("a", rest)) if rest.starts_with("prefix") => format!("{broker}?prefix={prefix}"),
        _ => broker.clone(),
    };
    let gateway = gateway::Gateway::serve(&["--transport".as_ref(), transport.as_ref()]);
    let environment =
        [("BUSGATE_BROKER", &*broker), ("BUSGATE_MAPPED", &*mapped), ("BUSGATE_PREFIX", &*prefix)];
    gateway.judged_in(&scripts(), &environment, gateway::Client::Python, script, scenario);
}

#[test]
fn every_scenario_is_run() {
    let listed: Vec<&str> =
        include_str!("interop.rs").split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let mut seen = 0;
    for script in scripts().read_dir().expect("the scripts").flatten() {
        let text = std::fs::read_to_string(script.path()).expect("a readable script");
        for marked in text.split("@scenario\n").skip(1) {
            let name =
                marked.split("def ").nth(1).and_then(|rest| rest.split('(').next()).expect("a function");
            assert!(listed.contains(&name), "{name} of {:?} is not run", script.file_name());
            seen += 1;
        }
    }
    assert!(seen >= 19, "only {seen} scenarios found");
}
