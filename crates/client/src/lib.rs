//! A busgate gateway as a [`busgate_core::Transport`]: the drop-in bus back end for Rust programs.
