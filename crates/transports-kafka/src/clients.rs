//! How clients of librdkafka are made: one place for every setting.

mod context;

use std::sync::Arc;

use busgate_core::{Error, Result};
use rdkafka::{
    ClientConfig,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::KafkaError,
};

pub(crate) use self::context::Context;
use crate::{
    config::{Acks, Deduplication, KafkaConfig},
    error,
};

/// How long a fetch of what grows waits for something new. A topic that is taken on waits for the fetch that is on its
/// way, so this is how long that takes at most, where nothing else comes.
const FOLLOW_WAIT_MS: u32 = 50;

/// How long a fetch of ids gathers, and how much: so late another node's ids are known. Who retries a publish through
/// another node takes longer, and the broker is not asked once for every batch.
const LEARN_WAIT_MS: u32 = 10;
const LEARN_BYTES: &str = "1000000";

/// Makes clients.
#[derive(Debug)]
pub(crate) struct Clients {
    base: ClientConfig,
    config: Arc<KafkaConfig>,
    context: Context,
}

impl Clients {
    pub(crate) fn new(config: &Arc<KafkaConfig>) -> Self {
        let mut base = ClientConfig::new();
        base.set("bootstrap.servers", &config.servers)
            .set("client.id", "busgate")
            .set("allow.auto.create.topics", "false")
            .set("socket.nagle.disable", "true")
            .set("log.connection.close", "false")
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "2000")
            .set("topic.metadata.refresh.fast.interval.ms", "50")
            .set("metadata.max.age.ms", "60000");
        secure(&mut base, config);
        for (key, value) in &config.client {
            base.set(key, value);
        }
        base.set_log_level(RDKafkaLogLevel::Warning);
        Self { base, config: Arc::clone(config), context: Context::default() }
    }

    /// What all clients tell beside their answers.
    pub(crate) fn context(&self) -> Context {
        self.context.clone()
    }

    /// The settings of an admin client.
    pub(crate) fn admin(&self) -> ClientConfig {
        self.base.clone()
    }

    /// The settings of the producer.
    pub(crate) fn producer(&self) -> ClientConfig {
        let config = &self.config;
        let mut settings = self.base.clone();
        let all = config.acks == Acks::All;
        settings
            .set("acks", if all { "all" } else { "1" })
            .set("enable.idempotence", if all { "true" } else { "false" })
            .set("linger.ms", config.linger.as_millis().to_string())
            .set("compression.type", &config.compression)
            .set("message.timeout.ms", config.half_timeout().as_millis().max(1).to_string())
            .set("topic.metadata.propagation.max.ms", config.timeout.as_millis().to_string());
        self.unless_asked(&mut settings, "message.max.bytes", "17825792");
        settings
    }

    /// The settings of a consumer that is told what to read and from where, and is in no group.
    pub(crate) fn reader(&self, wait_ms: u32) -> ClientConfig {
        let mut settings = self.base.clone();
        settings
            // librdkafka assigns only under the name of a group. It is never joined, and nothing is committed.
            .set("group.id", self.config.own_topic("readers"))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest");
        for (key, value) in [
            ("fetch.wait.max.ms", wait_ms.to_string().as_str()),
            ("fetch.error.backoff.ms", "50"),
            ("queued.min.messages", "20000"),
            ("queued.max.messages.kbytes", "16384"),
            ("fetch.queue.backoff.ms", "10"),
        ] {
            self.unless_asked(&mut settings, key, value);
        }
        settings
    }

    /// The settings of a consumer that follows topics as they grow.
    pub(crate) fn follower(&self) -> ClientConfig {
        self.reader(FOLLOW_WAIT_MS)
    }

    /// The settings of a consumer that follows topics for the ids in them: it need not have each at once.
    pub(crate) fn learner(&self) -> ClientConfig {
        if self.config.dedup == Deduplication::Strict {
            return self.follower();
        }
        let mut settings = self.reader(LEARN_WAIT_MS);
        self.unless_asked(&mut settings, "fetch.min.bytes", LEARN_BYTES);
        settings
    }

    /// The settings of a consumer that reads up to an end, and is told when it is there.
    pub(crate) fn pager(&self, wait_ms: u32) -> ClientConfig {
        let mut settings = self.reader(wait_ms);
        settings.set("enable.partition.eof", "true");
        settings
    }

    /// Makes a client.
    ///
    /// # Errors
    /// `invalid` when librdkafka does not know a setting; it names the setting.
    pub(crate) fn make<T>(&self, settings: &ClientConfig) -> Result<T>
    where
        T: FromClientConfigAndContext<Context>,
    {
        settings.create_with_context(self.context()).map_err(refused)
    }

    /// Makes a setting, unless the configuration has made it.
    pub(crate) fn unless_asked(&self, settings: &mut ClientConfig, key: &str, value: &str) {
        if !self.config.client.contains_key(key) {
            settings.set(key, value);
        }
    }
}

/// What a client that can't be made means. The value may be a secret: it is not repeated.
pub(crate) fn refused(error: KafkaError) -> Error {
    match error {
        KafkaError::ClientConfig(_, why, key, _) => {
            Error::invalid(format!("kafka setting `{key}`: {}", why.to_lowercase()))
        }
        KafkaError::ClientCreation(why) => Error::invalid(format!("the kafka client can't be made: {why}")),
        other => error::failed("the kafka client can't be made", other),
    }
}

fn secure(settings: &mut ClientConfig, config: &KafkaConfig) {
    let protocol = match (&config.tls, &config.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    settings.set("security.protocol", protocol);
    if let Some(sasl) = &config.sasl {
        settings
            .set("sasl.mechanism", sasl.mechanism.as_str())
            .set("sasl.username", &sasl.user)
            .set("sasl.password", &sasl.password);
    }
    let Some(tls) = &config.tls else { return };
    for (key, path) in [
        ("ssl.ca.location", &tls.ca),
        ("ssl.certificate.location", &tls.cert),
        ("ssl.key.location", &tls.key),
    ] {
        if let Some(path) = path {
            settings.set(key, path.to_string_lossy());
        }
    }
    if tls.any_host {
        settings.set("ssl.endpoint.identification.algorithm", "none");
    }
}
