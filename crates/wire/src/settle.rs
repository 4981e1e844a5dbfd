//! What the fields of an ack entry mean together, the same on every door.

use std::time::Duration;

use busgate_core::{Error, Nack, Result, SettleAction};

/// The fields of an ack entry.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    /// What went wrong; empty is nothing.
    pub(crate) error: String,
    /// After how long a nack comes back.
    pub(crate) retry_after: Option<Duration>,
    /// Whether it goes to the dead letters.
    pub(crate) terminate: bool,
    /// For how long the lease is to run on.
    pub(crate) extend: Option<Duration>,
    /// Whether it is let go of, and counts as an attempt then.
    pub(crate) release: Option<bool>,
}

impl Fields {
    /// What they ask for: an ack, unless they say otherwise.
    ///
    /// # Errors
    /// `invalid` when they contradict each other.
    pub(crate) fn action(self) -> Result<SettleAction> {
        match self {
            Self { release: Some(counted), extend: None, retry_after: None, terminate: false, error }
                if error.is_empty() =>
            {
                Ok(SettleAction::Release { counted })
            }
            Self { release: Some(_), .. } => Err(Error::invalid("release stands alone")),
            Self { extend: Some(by), retry_after: None, terminate: false, error, .. } if error.is_empty() => {
                Ok(SettleAction::Extend(by))
            }
            Self { extend: Some(_), .. } => Err(Error::invalid("extend stands alone")),
            Self { terminate: true, retry_after: Some(_), .. } => {
                Err(Error::invalid("terminate and retry_after exclude each other"))
            }
            Self { terminate: true, error, .. } => Ok(SettleAction::Reject { reason: error }),
            Self { error, retry_after: None, .. } if error.is_empty() => Ok(SettleAction::Ack),
            Self { error, retry_after, .. } => {
                let error = Some(error).filter(|error| !error.is_empty());
                Ok(SettleAction::Nack(Nack { delay: retry_after, error }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_empty_error_is_an_ack() {
        assert_eq!(Fields::default().action().unwrap(), SettleAction::Ack);
    }

    #[test]
    fn an_error_or_a_delay_is_a_nack() {
        let nack = |delay, error| SettleAction::Nack(Nack { delay, error });
        let fields = Fields { error: "no".into(), ..Fields::default() };
        assert_eq!(fields.action().unwrap(), nack(None, Some("no".into())));
        let fields = Fields { retry_after: Some(SECOND), ..Fields::default() };
        assert_eq!(fields.action().unwrap(), nack(Some(SECOND), None));
    }

    #[test]
    fn terminate_rejects_and_extend_extends() {
        let fields = Fields { error: "poison".into(), terminate: true, ..Fields::default() };
        assert_eq!(fields.action().unwrap(), SettleAction::Reject { reason: "poison".into() });
        let fields = Fields { extend: Some(SECOND), ..Fields::default() };
        assert_eq!(fields.action().unwrap(), SettleAction::Extend(SECOND));
    }

    #[test]
    fn contradictions_are_refused() {
        let extend = Fields { extend: Some(SECOND), ..Fields::default() };
        assert!(Fields { error: "x".into(), ..extend }.action().is_err());
        let later = Fields { retry_after: Some(SECOND), terminate: true, ..Fields::default() };
        assert!(later.action().is_err());
        let release = Fields { release: Some(false), terminate: true, ..Fields::default() };
        assert!(release.action().is_err());
    }
}
