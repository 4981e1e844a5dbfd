//! NATS JetStream behind the one contract of busgate.
