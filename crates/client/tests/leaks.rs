//! What a client leaves behind. In a binary of its own: open files and memory are counted for the whole process.

#[cfg(test)]
#[path = "faults/frame.rs"]
mod frame;
#[cfg(test)]
#[path = "faults/leaks.rs"]
mod leaks;
#[cfg(test)]
#[allow(dead_code, reason = "shared with the fault suite")]
#[path = "faults/proxy.rs"]
mod proxy;
#[cfg(test)]
#[allow(dead_code, reason = "shared with the fault suite")]
#[path = "faults/stage.rs"]
mod stage;
