//! Apache Kafka behind the one contract of busgate.
