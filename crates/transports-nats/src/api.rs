//! The few calls of JetStream's API that are needed, in the form that 2.9 knows as well.

pub(crate) use self::{
    call::nanos,
    consumers::ConsumerInfo,
    streams::{StreamConfig, StreamInfo},
};

mod call;
mod consumers;
mod messages;
mod streams;
