//! An encoded message in two parts: what all subscribers share, and what is one subscriber's own.

use bytes::{BufMut, Bytes, BytesMut};

/// An encoded message: first the shared bytes, then the subscriber's own.
///
/// A message that has nothing of the subscriber's own is the cached bytes themselves, and costs no copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    shared: Bytes,
    own: Bytes,
}

impl Parts {
    pub(crate) const fn new(shared: Bytes, own: Bytes) -> Self {
        Self { shared, own }
    }

    /// How many bytes there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.shared.len() + self.own.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Both parts, for a vectored write.
    #[must_use]
    pub const fn as_slices(&self) -> [&Bytes; 2] {
        [&self.shared, &self.own]
    }

    /// Both parts, to keep until they are written.
    #[must_use]
    pub fn into_array(self) -> [Bytes; 2] {
        [self.shared, self.own]
    }

    /// Appends the bytes to a buffer that gathers several messages for one write.
    pub fn put(&self, out: &mut BytesMut) {
        out.reserve(self.len());
        out.put_slice(&self.shared);
        out.put_slice(&self.own);
    }

    /// The bytes as one; without a copy when all is shared.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        if self.own.is_empty() {
            return self.shared;
        }
        let mut out = BytesMut::new();
        self.put(&mut out);
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_all_shared_is_not_copied() {
        let shared = Bytes::from_static(b"abc");
        let parts = Parts::new(shared.clone(), Bytes::new());
        assert_eq!(parts.into_bytes().as_ptr(), shared.as_ptr());
    }

    #[test]
    fn the_parts_follow_each_other() {
        let parts = Parts::new(Bytes::from_static(b"ab"), Bytes::from_static(b"c"));
        assert_eq!(parts.len(), 3);
        assert_eq!(parts.into_bytes(), "abc");
    }
}
