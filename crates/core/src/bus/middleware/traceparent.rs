//! The W3C trace context in its one-line form.

use std::{fmt, str::FromStr};

use uuid::Uuid;

use crate::Error;

tokio::task_local! {
    pub(super) static CURRENT: Traceparent;
}

/// A place in a trace: `00-<trace id>-<span id>-<flags>`, as W3C writes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Traceparent {
    trace: u128,
    span: u64,
    flags: u8,
}

impl Traceparent {
    /// The start of a new trace, sampled.
    #[must_use]
    pub fn generate() -> Self {
        Self { trace: Uuid::new_v4().as_u128(), span: span(), flags: 1 }
    }

    /// A new span of the same trace.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span: span(), ..*self }
    }

    /// Where the handler that runs now stands, if a [`Trace`](super::Trace) layer is around it: for calls to others
    /// that take a `traceparent`.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|current| *current).ok()
    }

    /// The trace id, as 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// The span id, as 16 hexadecimal digits.
    #[must_use]
    pub fn span_id(&self) -> String {
        format!("{:016x}", self.span)
    }
}

/// Eight random bytes that are not all zero.
fn span() -> u64 {
    let [high, low] = [Uuid::new_v4().as_u64_pair().0, Uuid::new_v4().as_u64_pair().1];
    (high ^ low).max(1)
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

impl fmt::Debug for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Traceparent {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        read(text).ok_or_else(|| Error::invalid("traceparent must be 00-<32 hex>-<16 hex>-<2 hex>"))
    }
}

fn read(text: &str) -> Option<Traceparent> {
    let mut parts = text.split('-');
    let version = hex(parts.next()?, 2)?;
    let (trace, span) = (hex(parts.next()?, 32)?, hex(parts.next()?, 16)?);
    let flags = hex(parts.next()?, 2)?;
    // Later versions may say more after what this one knows.
    let known = match version {
        0 => parts.next().is_none(),
        0xff => false,
        _ => true,
    };
    if !known || trace == 0 || span == 0 {
        return None;
    }
    Some(Traceparent { trace, span: u64::try_from(span).ok()?, flags: u8::try_from(flags).ok()? })
}

fn hex(text: &str, digits: usize) -> Option<u128> {
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != digits || !text.bytes().all(lower) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_written_reads_back() {
        let place: Traceparent = EXAMPLE.parse().unwrap();
        assert_eq!(place.to_string(), EXAMPLE);
        assert_eq!(place.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(place.span_id(), "00f067aa0ba902b7");
        let fresh = Traceparent::generate();
        assert_eq!(fresh.to_string().parse::<Traceparent>().unwrap(), fresh);
    }

    #[test]
    fn a_child_stays_in_its_trace() {
        let place: Traceparent = EXAMPLE.parse().unwrap();
        assert_eq!(place.child().trace_id(), place.trace_id());
        assert_ne!(place.child().span_id(), place.span_id());
    }

    #[test]
    fn what_w3c_forbids_is_no_place() {
        for bad in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b-01",
        ] {
            assert!(bad.parse::<Traceparent>().is_err(), "{bad}");
        }
        assert!(format!("01{}-more", &EXAMPLE[2..]).parse::<Traceparent>().is_ok());
    }
}
