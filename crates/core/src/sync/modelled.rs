//! Locks and wake-ups of which [`model`] tries every interleaving. Outside a model they are the real ones.
//!
//! A model covers what happens between threads at the granularity of these: each lock, unlock, and call of a `Notify` is
//! one step, and loom runs the same code once for every order of the steps that makes a difference. A `Notify` is tokio's
//! own, as one step; what it does inside is tokio's to prove. A thread that waits for ever is found as a deadlock.
//!
//! A model of many steps has to be bounded: it tries the orders with at most some preemptions, and not every one of them.

use std::{
    cell::Cell,
    fmt,
    future::Future,
    ops::{Deref, DerefMut},
    pin::Pin,
    sync::PoisonError,
    task::{Context, Poll},
};

use loom::sync::atomic::{AtomicUsize, Ordering};

thread_local! {
    /// Loom's threads all run on the one that called it.
    static IN_MODEL: Cell<bool> = const { Cell::new(false) };
}

/// Runs `check` once for every interleaving of its threads.
pub(crate) fn model(check: impl Fn() + Send + Sync + 'static) {
    explore(None, check);
}

/// Runs `check` once for most interleavings of its threads that preempt one of them at most three times in all.
pub(crate) fn bounded_model(check: impl Fn() + Send + Sync + 'static) {
    explore(Some(3), check);
}

fn explore(preemptions: Option<usize>, check: impl Fn() + Send + Sync + 'static) {
    struct Left;

    impl Drop for Left {
        fn drop(&mut self) {
            IN_MODEL.set(false);
        }
    }

    // Calls of a transport have a deadline, which wants a timer to be there.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let _entered = runtime.as_ref().map(tokio::runtime::Runtime::enter);
    IN_MODEL.set(true);
    let _left = Left;
    let mut loom = loom::model::Builder::new();
    loom.preemption_bound = preemptions;
    loom.check(check);
}

/// What a lock lets its holder at.
pub(crate) struct Guard<'a, T>(Box<dyn DerefMut<Target = T> + 'a>);

/// What a lock lets its readers at.
pub(crate) struct Shared<'a, T>(Box<dyn Deref<Target = T> + 'a>);

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Deref for Shared<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// A mutex.
pub(crate) enum Mutex<T> {
    Real(parking_lot::Mutex<T>),
    Modelled(loom::sync::Mutex<T>),
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        if IN_MODEL.get() {
            Self::Modelled(loom::sync::Mutex::new(value))
        } else {
            Self::Real(parking_lot::Mutex::new(value))
        }
    }

    pub(crate) fn lock(&self) -> Guard<'_, T> {
        match self {
            Self::Real(mutex) => Guard(Box::new(mutex.lock())),
            Self::Modelled(mutex) => Guard(Box::new(mutex.lock().unwrap_or_else(PoisonError::into_inner))),
        }
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex")
    }
}

/// A lock with readers.
pub(crate) enum RwLock<T> {
    Real(parking_lot::RwLock<T>),
    Modelled(loom::sync::RwLock<T>),
}

impl<T> RwLock<T> {
    pub(crate) fn read(&self) -> Shared<'_, T> {
        match self {
            Self::Real(lock) => Shared(Box::new(lock.read())),
            Self::Modelled(lock) => Shared(Box::new(lock.read().unwrap_or_else(PoisonError::into_inner))),
        }
    }

    pub(crate) fn write(&self) -> Guard<'_, T> {
        match self {
            Self::Real(lock) => Guard(Box::new(lock.write())),
            Self::Modelled(lock) => Guard(Box::new(lock.write().unwrap_or_else(PoisonError::into_inner))),
        }
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        if IN_MODEL.get() {
            Self::Modelled(loom::sync::RwLock::default())
        } else {
            Self::Real(parking_lot::RwLock::default())
        }
    }
}

impl<T> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RwLock")
    }
}

/// A step of a model where another thread may come first.
#[derive(Debug)]
struct Step(Option<AtomicUsize>);

impl Step {
    fn new() -> Self {
        Self(IN_MODEL.get().then(|| AtomicUsize::new(0)))
    }

    fn take(&self) {
        if let Some(step) = &self.0 {
            step.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Tokio's wake-up, each call of it one step.
#[derive(Debug)]
pub(crate) struct Notify {
    inner: tokio::sync::Notify,
    step: Step,
}

impl Notify {
    pub(crate) fn new() -> Self {
        Self { inner: tokio::sync::Notify::new(), step: Step::new() }
    }

    pub(crate) fn notify_one(&self) {
        self.step.take();
        self.inner.notify_one();
    }

    pub(crate) fn notify_waiters(&self) {
        self.step.take();
        self.inner.notify_waiters();
    }

    pub(crate) fn notified(&self) -> Notified<'_> {
        self.step.take();
        Notified { inner: Box::pin(self.inner.notified()), step: &self.step }
    }
}

/// Resolves when somebody was notified.
#[derive(Debug)]
pub(crate) struct Notified<'a> {
    inner: Pin<Box<tokio::sync::futures::Notified<'a>>>,
    step: &'a Step,
}

impl Notified<'_> {
    pub(crate) fn enable(mut self: Pin<&mut Self>) -> bool {
        self.step.take();
        self.inner.as_mut().enable()
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.step.take();
        self.inner.as_mut().poll(cx)
    }
}
