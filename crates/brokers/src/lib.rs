//! Real brokers for tests and benchmarks: started, paused, killed and started again.
