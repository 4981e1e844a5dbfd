//! The busgate binary.
fn main() {}
