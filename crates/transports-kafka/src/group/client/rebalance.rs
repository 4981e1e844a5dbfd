//! Rebalances: librdkafka tells of them in the midst of a call, and they are done when the pump has its turn.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol},
    error::{KafkaError, KafkaResult},
    types::RDKafkaRespErr,
};
use tokio::sync::Notify;

use crate::clients::Context;

/// A consumer with its callbacks.
pub(super) type Consumer = BaseConsumer<Signals>;

/// What librdkafka tells.
#[derive(Debug)]
pub(in crate::group) enum Signal {
    /// These partitions are to be read here.
    Assigned(Vec<i32>),
    /// These are not any more; when they are lost, another member may have them by now.
    Revoked { partitions: Vec<i32>, lost: bool },
}

/// Where signals are kept until the pump looks.
#[derive(Debug, Default)]
pub(in crate::group) struct Inbox {
    signals: Mutex<VecDeque<Signal>>,
    /// Told when there may be something to do.
    pub(in crate::group) wake: Notify,
    is_closing: AtomicBool,
}

/// The callbacks.
pub(in crate::group) struct Signals {
    context: Context,
    inbox: Arc<Inbox>,
}

impl Signals {
    pub(super) const fn new(context: Context, inbox: Arc<Inbox>) -> Self {
        Self { context, inbox }
    }
}

impl Inbox {
    pub(in crate::group) fn pop(&self) -> Option<Signal> {
        self.signals.lock().pop_front()
    }

    /// The consumer ends: nobody looks any more.
    pub(super) fn close(&self) {
        self.is_closing.store(true, Ordering::Release);
    }

    /// Another consumer may be made.
    pub(in crate::group) fn reopen(&self) {
        self.is_closing.store(false, Ordering::Release);
    }

    fn push(&self, signal: Signal) {
        self.signals.lock().push_back(signal);
        self.wake.notify_one();
    }

    pub(super) fn len(&self) -> usize {
        self.signals.lock().len()
    }
}

impl ClientContext for Signals {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }

    fn stats_raw(&self, _: &[u8]) {}
}

impl ConsumerContext for Signals {
    /// Nothing is given or taken here: the pump does it, in its time.
    fn rebalance(&self, consumer: &Consumer, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions = list.elements().iter().map(|element| element.partition()).collect();
        let is_assigned = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.inbox.is_closing.load(Ordering::Acquire) {
            // The consumer can't end before it is told.
            let told = if is_assigned { give(consumer, list) } else { take(consumer, list) };
            if let Err(error) = told {
                tracing::debug!(%error, "a rebalance at the end failed");
            }
            return;
        }
        self.inbox.push(if is_assigned {
            Signal::Assigned(partitions)
        } else {
            Signal::Revoked { partitions, lost: consumer.assignment_lost() }
        });
    }
}

/// Reads these partitions from these offsets on.
pub(super) fn give(consumer: &Consumer, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(list),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(list),
    }
}

/// Reads these partitions no more.
pub(super) fn take(consumer: &Consumer, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
    }
}
