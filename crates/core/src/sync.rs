//! The locks and wake-ups of what many threads share; in the tests those whose interleavings can all be tried.

#[cfg(test)]
mod modelled;

#[cfg(not(test))]
pub(crate) use parking_lot::{Mutex, RwLock};
#[cfg(not(test))]
pub(crate) use tokio::sync::{Notify, futures::Notified};

#[cfg(test)]
pub(crate) use self::modelled::{Mutex, Notified, Notify, RwLock, bounded_model, model};
