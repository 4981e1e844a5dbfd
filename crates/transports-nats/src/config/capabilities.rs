//! What a transport can do, by its configuration.

use busgate_core::{Capabilities, Fencing};

use super::{NatsConfig, Storage};

/// Of core subjects.
const CORE: Capabilities = Capabilities {
    durable: false,
    replay: false,
    replay_from_time: false,
    worker_pool: false,
    redelivery: false,
    delayed_requeue: false,
    extend: false,
    ordered: true,
    ordered_keys: false,
    dedup: false,
    resume: false,
    any_node_settle: false,
    fenced: Fencing::None,
    dead_letters: false,
};

impl NatsConfig {
    /// What a transport with this configuration can do.
    #[must_use]
    pub const fn capabilities(&self) -> Capabilities {
        if self.core { CORE } else { self.jetstream() }
    }

    const fn jetstream(&self) -> Capabilities {
        Capabilities {
            durable: matches!(self.storage, Storage::File),
            replay: true,
            replay_from_time: true,
            worker_pool: true,
            redelivery: true,
            delayed_requeue: true,
            extend: true,
            ordered: true,
            ordered_keys: false,
            dedup: true,
            resume: true,
            any_node_settle: true,
            fenced: Fencing::LeaseClock,
            dead_letters: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_keeps_in_memory_is_not_claimed_to_last() {
        let mut config = NatsConfig::new("h");
        assert!(config.capabilities().durable);
        config.storage = Storage::Memory;
        assert!(!config.capabilities().durable);
        assert!(config.capabilities().worker_pool);
    }

    #[test]
    fn core_subjects_claim_nothing_but_their_order() {
        let config = NatsConfig { core: true, ..NatsConfig::new("h") };
        let nothing = Capabilities { ordered: true, ..Capabilities::default() };
        assert_eq!(config.capabilities(), nothing);
    }
}
