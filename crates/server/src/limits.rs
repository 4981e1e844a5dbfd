//! What nobody may exceed: connections, and publishes a second.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use busgate_core::{Caller, Error, ErrorKind, Result};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter, clock::Clock, clock::DefaultClock};
use parking_lot::Mutex;

use crate::config::{ApiKey, Bounds};

/// The places for connections.
#[derive(Debug)]
pub(crate) struct Connections {
    most: usize,
    most_per_ip: Option<usize>,
    taken: AtomicUsize,
    by_ip: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection's place; dropping it frees it.
#[derive(Debug)]
pub(crate) struct Place {
    connections: Arc<Connections>,
    ip: IpAddr,
}

impl Connections {
    pub(crate) fn new(bounds: &Bounds) -> Arc<Self> {
        Arc::new(Self {
            most: bounds.max_connections,
            most_per_ip: bounds.max_connections_per_ip,
            taken: AtomicUsize::new(0),
            by_ip: Mutex::default(),
        })
    }

    /// A place for a connection from `ip`, if there is one.
    pub(crate) fn take(self: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        if self.taken.fetch_add(1, Ordering::Relaxed) >= self.most || !self.take_by_ip(ip) {
            self.taken.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Place { connections: Arc::clone(self), ip })
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    fn take_by_ip(&self, ip: IpAddr) -> bool {
        let Some(most) = self.most_per_ip else { return true };
        let mut by_ip = self.by_ip.lock();
        let taken = by_ip.entry(ip).or_default();
        let free = *taken < most;
        *taken += usize::from(free);
        free
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.taken.fetch_sub(1, Ordering::Relaxed);
        if self.connections.most_per_ip.is_none() {
            return;
        }
        let mut by_ip = self.connections.by_ip.lock();
        if let Some(taken) = by_ip.get_mut(&self.ip) {
            *taken -= 1;
            if *taken == 0 {
                by_ip.remove(&self.ip);
            }
        }
    }
}

/// How fast each principal may publish.
pub(crate) struct PublishRate(Option<Limiters>);

/// One limiter a principal, made at the start, so that publishing takes no lock. Those without a key share one.
struct Limiters {
    by_name: HashMap<String, DefaultDirectRateLimiter>,
    others: DefaultDirectRateLimiter,
    burst: u32,
}

impl PublishRate {
    pub(crate) fn new(bounds: &Bounds, keys: &[ApiKey]) -> Self {
        let quota = bounds.publish_rate.and_then(NonZeroU32::new).zip(NonZeroU32::new(bounds.publish_burst));
        Self(quota.map(|(rate, burst)| {
            let limiter = || RateLimiter::direct(Quota::per_second(rate).allow_burst(burst));
            Limiters {
                by_name: keys.iter().map(|key| (key.name.clone(), limiter())).collect(),
                others: limiter(),
                burst: burst.get(),
            }
        }))
    }

    /// Lets `caller` publish `messages` now.
    ///
    /// # Errors
    /// `exhausted`, with when to try again; `too_large` for more than may ever come at once.
    pub(crate) fn admit(&self, caller: &Caller, messages: usize) -> Result<()> {
        let Some(limiters) = &self.0 else { return Ok(()) };
        let Some(count) = u32::try_from(messages).ok().and_then(NonZeroU32::new) else { return Ok(()) };
        let limiter = limiters.by_name.get(caller.name()).unwrap_or(&limiters.others);
        match limiter.check_n(count) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(wait)) => Err(over(wait.wait_time_from(DefaultClock::default().now()))),
            Err(_) => Err(Error::new(
                ErrorKind::TooLarge,
                format!("{messages} messages at once are over the limit of {}", limiters.burst),
            )),
        }
    }
}

fn over(wait: Duration) -> Error {
    Error::new(ErrorKind::Exhausted, "over the publish rate of this principal").with_retry_after(wait)
}

impl fmt::Debug for PublishRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PublishRate").field(&self.0.as_ref().map(|limiters| limiters.burst)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment, Sources};

    fn bounds(variables: &[(&str, &str)]) -> Bounds {
        let pairs = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::read(&Sources { environment: Environment::new(pairs), ..Sources::none() }).unwrap().bounds
    }

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn a_place_is_free_again_when_it_is_left() {
        let connections = Connections::new(&bounds(&[("BUSGATE_LIMITS_MAX_CONNECTIONS", "2")]));
        let first = connections.take(A).unwrap();
        let _second = connections.take(A).unwrap();
        assert!(connections.take(B).is_none());
        drop(first);
        assert!(connections.take(B).is_some());
        assert_eq!(connections.taken(), 1);
    }

    #[test]
    fn one_address_leaves_room_for_others() {
        let connections = Connections::new(&bounds(&[("BUSGATE_LIMITS_MAX_CONNECTIONS_PER_IP", "1")]));
        let _first = connections.take(A).unwrap();
        assert!(connections.take(A).is_none());
        assert!(connections.take(B).is_some());
        assert_eq!(connections.by_ip.lock().len(), 1);
    }

    #[test]
    fn each_principal_has_a_rate_of_its_own() {
        let bounds = bounds(&[("BUSGATE_LIMITS_PUBLISH_RATE", "1"), ("BUSGATE_LIMITS_PUBLISH_BURST", "2")]);
        let keys =
            [ApiKey::new("a", "0123456789abcdef", vec![]), ApiKey::new("b", "0123456789abcdef", vec![])];
        let rate = PublishRate::new(&bounds, &keys);
        let (a, b) = (Caller::principal("a"), Caller::principal("b"));
        assert!(rate.admit(&a, 2).is_ok());
        let error = rate.admit(&a, 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exhausted);
        assert!(error.retry_after().is_some_and(|after| after <= Duration::from_secs(1)));
        assert!(rate.admit(&b, 1).is_ok());
        assert_eq!(rate.admit(&b, 3).unwrap_err().kind(), ErrorKind::TooLarge);
    }
}
