//! busgate.
