//! Another attempt at once, before a message goes back or a publisher hears of an error.

use std::{future::Future, time::Duration};

use tokio::time::sleep;

use crate::{
    Error, Message, Receipt, Result, Retry as Advice,
    bus::{Context, Failure, Handling, Layer, Publication, Publishing, Service, Verdict},
};

/// A layer that tries again, after a pause that doubles from one attempt to the next.
///
/// Around a handler: what failed plainly is tried again while the lease is held; a reject and a `retry_after` are answers
/// and pass through. Around publishing: only the messages whose error may pass, under the ids they have, so that none
/// is there twice.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    attempts: u32,
    first: Duration,
    most: Duration,
}

impl Retry {
    /// At most this many attempts in all; 100 ms before the second, 5 s at most.
    #[must_use]
    pub const fn new(attempts: u32) -> Self {
        Self { attempts, first: Duration::from_millis(100), most: Duration::from_secs(5) }
    }

    /// Another pause before the second attempt, and the longest one.
    #[must_use]
    pub const fn backoff(mut self, first: Duration, most: Duration) -> Self {
        (self.first, self.most) = (first, most);
        self
    }

    /// How long to wait after `attempt` (from 1) has failed; `None` when it was the last.
    fn pause(&self, attempt: u32, asked: Option<Duration>) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let doubled = self.first.saturating_mul(1_u32.checked_shl(attempt - 1).unwrap_or(u32::MAX));
        // Up to a tenth more, so that those who failed together don't come again together.
        let pause = doubled.min(self.most).mul_f64(1.0 + fastrand::f64() / 10.0);
        Some(asked.map_or(pause, |asked| asked.max(pause)))
    }
}

impl<S> Layer<S> for Retry {
    type Service = Retried<S>;

    fn layer(&self, inner: S) -> Retried<S> {
        Retried { policy: *self, inner }
    }
}

/// A service that is tried again: see [`Retry`].
#[derive(Clone, Copy, Debug)]
pub struct Retried<S> {
    policy: Retry,
    inner: S,
}

impl<S: Handling> Service<Context> for Retried<S> {
    type Response = ();
    type Error = Failure;

    async fn call(&self, context: Context) -> Result<(), Failure> {
        let mut attempt = 1;
        loop {
            let Err(failure) = self.inner.call(context.clone()).await else { return Ok(()) };
            let pause = self.policy.pause(attempt, None);
            let Some(pause) = pause.filter(|_| failure.verdict() == Verdict::Retry) else {
                return Err(failure);
            };
            tracing::debug!(event = %context.event(), id = %context.id(), attempt, error = failure.text(), "handler failed, trying again");
            sleep(pause).await;
            attempt += 1;
        }
    }
}

impl<S: Publishing> Service<Publication> for Retried<S> {
    type Response = Vec<Result<Receipt>>;
    type Error = Error;

    fn call(&self, request: Publication) -> impl Future<Output = Result<Self::Response>> + Send {
        self.publish(request)
    }
}

impl<S: Publishing> Retried<S> {
    async fn publish(&self, request: Publication) -> Result<Vec<Result<Receipt>>> {
        let Publication { event, mut messages } = request;
        let mut answers: Vec<Option<Result<Receipt>>> = vec![None; messages.len()];
        // Where the messages still to be sent stand in the answers.
        let mut open: Vec<usize> = (0..messages.len()).collect();
        let mut attempt = 1;
        loop {
            let batch = Publication { event: event.clone(), messages: messages.clone() };
            let sent = match self.inner.call(batch).await {
                Ok(sent) => sent,
                Err(error) => vec![Err(error); messages.len()],
            };
            let pause = self.policy.pause(attempt, sent.iter().filter_map(hint).max());
            let (again, places) = sort(sent, messages, &open, &mut answers, pause.is_some());
            let Some(pause) = pause.filter(|_| !places.is_empty()) else { break };
            sleep(pause).await;
            (messages, open, attempt) = (again, places, attempt + 1);
        }
        Ok(answers.into_iter().map(|answer| answer.unwrap_or_else(crate::bus::no_answer)).collect())
    }
}

/// Puts each answer in its place, and answers what is worth another attempt, with its places.
fn sort(
    sent: Vec<Result<Receipt>>,
    messages: Vec<Message>,
    open: &[usize],
    answers: &mut [Option<Result<Receipt>>],
    more: bool,
) -> (Vec<Message>, Vec<usize>) {
    let mut again = (Vec::new(), Vec::new());
    for ((answer, message), at) in sent.into_iter().zip(messages).zip(open) {
        if more && answer.as_ref().is_err_and(|error| error.retry() != Advice::Never) {
            again.0.push(message);
            again.1.push(*at);
        }
        if let Some(place) = answers.get_mut(*at) {
            *place = Some(answer);
        }
    }
    again
}

/// When the callee says that a retry is worth it.
fn hint(answer: &Result<Receipt>) -> Option<Duration> {
    answer.as_ref().err().and_then(Error::retry_after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_bound() {
        let policy = Retry::new(40).backoff(Duration::from_millis(100), Duration::from_secs(1));
        let pause = |attempt| policy.pause(attempt, None).unwrap().as_millis();
        assert!((100..=110).contains(&pause(1)));
        assert!((400..=440).contains(&pause(3)));
        assert!((1000..=1100).contains(&pause(39)));
        assert!(policy.pause(40, None).is_none());
    }
}
