//! Each connection takes a file descriptor: as many as the system grants, not as few as a shell starts with.

/// Raises the limit of open files to the most that this user may have, and says so when that is less than `wanted`.
#[cfg(unix)]
pub(super) fn raise(wanted: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let granted = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "can't raise the limit of open files");
            limit.current
        }
    };
    if let Some(granted) = granted
        && u64::try_from(wanted).is_ok_and(|wanted| granted < wanted)
    {
        tracing::info!(granted, wanted, "fewer open files are granted than limits.max_connections asks for");
    }
}

/// Elsewhere there is no such limit.
#[cfg(not(unix))]
pub(super) fn raise(_: usize) {}
