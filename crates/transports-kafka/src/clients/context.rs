//! What clients of librdkafka tell beside their answers.

use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::{
    ClientContext, config::RDKafkaLogLevel, consumer::ConsumerContext, error::KafkaError,
    types::RDKafkaErrorCode as Code,
};

/// Takes in what they tell: it goes to the log, and what can't be waited out is kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Context {
    refusal: Arc<Mutex<Option<Code>>>,
    trouble: Arc<Mutex<Option<String>>>,
}

/// How much is kept of what a client tells.
const MAX_TROUBLE: usize = 300;

impl Context {
    /// Why the broker refuses the connection, if it last did.
    pub(crate) fn refusal(&self) -> Option<Code> {
        *self.refusal.lock()
    }

    /// What last kept a client from reaching a broker, in the words of librdkafka.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    fn note(&self, code: Code, reason: &str) {
        if matches!(code, Code::BrokerTransportFailure | Code::Resolve | Code::SSL) {
            // How long it took, and how often it was told, is of no interest.
            let told = reason.split(" (after ").next().unwrap_or(reason);
            *self.trouble.lock() = Some(told.chars().take(MAX_TROUBLE).collect());
        }
        let refused = matches!(
            code,
            Code::Authentication
                | Code::SaslAuthenticationFailed
                | Code::UnsupportedSASLMechanism
                | Code::SSL
        );
        if refused {
            *self.refusal.lock() = Some(code);
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Debug | RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
                tracing::debug!(facility, message, "librdkafka");
            }
            // A broker that is away is told on every attempt: whoever waits for it gets the error.
            _ => tracing::warn!(facility, message, "librdkafka"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(code) = error.rdkafka_error_code() {
            self.note(code, reason);
        }
        tracing::debug!(%error, reason, "a client of kafka has trouble");
    }

    fn stats_raw(&self, _: &[u8]) {}
}

impl ConsumerContext for Context {}
