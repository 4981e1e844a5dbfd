//! The two ways in which the members of a group find their partitions.

use crate::config::{GroupProtocol, KafkaConfig};

/// Settings that only groups have that lead themselves.
const CLASSIC: [&str; 3] = ["session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"];

/// How the members of groups find their partitions, unless the broker turned out not to lead groups.
pub(in crate::group) fn protocol(config: &KafkaConfig, is_led: bool) -> GroupProtocol {
    let is_classic = CLASSIC.iter().any(|key| config.client.contains_key(*key));
    match config.group_protocol {
        Some(protocol) => protocol,
        None if is_led && !is_classic => GroupProtocol::Consumer,
        None => GroupProtocol::Classic,
    }
}

/// What librdkafka is told of it.
pub(super) fn settings_of(protocol: GroupProtocol) -> &'static [(&'static str, &'static str)] {
    match protocol {
        GroupProtocol::Consumer => &[("group.protocol", "consumer")],
        GroupProtocol::Classic => &[
            ("group.protocol", "classic"),
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("session.timeout.ms", "10000"),
            ("heartbeat.interval.ms", "500"),
        ],
    }
}
