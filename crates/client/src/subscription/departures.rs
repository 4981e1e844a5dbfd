//! Subscriptions that were dropped and are on their way out.

use std::collections::HashMap;

use busgate_core::{EventName, Holder};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The subscriptions of groups and named consumers that a program has dropped, and that may still have something to give
/// back. The next one of the same holder waits for them, so that a program finds things in the order it did them.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    leaving: Mutex<HashMap<(EventName, Holder), Vec<CancellationToken>>>,
}

impl Departures {
    /// One leaves; `gone` is cancelled when it has.
    pub(crate) fn begin(&self, event: EventName, holder: Holder, gone: CancellationToken) {
        let mut leaving = self.leaving.lock();
        leaving.retain(|_, gone| {
            gone.retain(|gone| !gone.is_cancelled());
            !gone.is_empty()
        });
        leaving.entry((event, holder)).or_default().push(gone);
    }

    /// Waits until those of this holder have left.
    pub(crate) async fn wait(&self, event: &EventName, holder: &Holder) {
        let key = (event.clone(), holder.clone());
        let leaving = self.leaving.lock().get(&key).cloned().unwrap_or_default();
        for gone in leaving {
            gone.cancelled().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use busgate_core::GroupName;
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn only_the_same_holder_waits() {
        let departures = Departures::default();
        let (event, gone) = (EventName::new("e").unwrap(), CancellationToken::new());
        let group = |name| Holder::Group(GroupName::new(name).unwrap());
        departures.begin(event.clone(), group("a"), gone.clone());
        assert!(departures.wait(&event, &group("b")).now_or_never().is_some());
        assert!(departures.wait(&event, &group("a")).now_or_never().is_none());
        gone.cancel();
        assert!(departures.wait(&event, &group("a")).now_or_never().is_some());
    }

    #[test]
    fn those_that_have_left_are_forgotten() {
        let departures = Departures::default();
        for number in 0..100 {
            let (event, gone) = (EventName::new(format!("e{number}")).unwrap(), CancellationToken::new());
            gone.cancel();
            departures.begin(event, Holder::Group(GroupName::default()), gone);
        }
        assert_eq!(departures.leaving.lock().len(), 1);
    }
}
