//! The contract a third time: client → TCP → gateway → back end.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "conformance/gateway.rs"]
mod gateway;
#[path = "conformance/harness.rs"]
mod harness;

mod memory {
    use crate::harness::Remote;

    busgate_conformance::suite!(real, Remote::over_memory());
}

mod log {
    use crate::harness::Remote;

    busgate_conformance::suite!(real, Remote::over_log());
}

mod redis {
    use crate::harness::Remote;

    busgate_conformance::suite!(real, Remote::over(busgate_brokers::Kind::Redis70));
}

mod nats {
    use crate::harness::Remote;

    busgate_conformance::suite!(real, Remote::over(busgate_brokers::Kind::Nats215));
}

mod kafka {
    use crate::harness::Remote;

    busgate_conformance::suite!(real, Remote::over(busgate_brokers::Kind::Kafka));
}
