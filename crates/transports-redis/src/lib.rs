//! Redis Streams behind the one contract of busgate.
