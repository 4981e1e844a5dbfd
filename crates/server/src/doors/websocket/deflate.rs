//! permessage-deflate (RFC 7692) without context takeover on either side: no socket keeps a window between messages.
//!
//! So a message's shared part can be compressed once for all its subscribers: the DEFLATE blocks of one message may come
//! from different compressors as long as none looks back beyond its own start.

use std::{cell::RefCell, io::Read};

use bytes::{BufMut, Bytes};
use flate2::{Compress, Compression, FlushCompress, bufread::DeflateDecoder};

use super::decoder::Violation;

/// What the server answers to an offer it takes.
pub(super) const ACCEPTED: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// Shorter messages are sent as they are: compressing them would cost more than it saves.
pub(super) const LEAST_BYTES: usize = 512;

/// What ends a sync flush; a message is sent without it (RFC 7692, section 7.2.1).
const FLUSH_END: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// The longest stored block (RFC 1951, section 3.2.4).
const MOST_STORED: usize = u16::MAX as usize;

thread_local! {
    /// Compressing is one call without waiting, so that all sockets of a thread share the compressor.
    static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
}

/// Whether one of a client's offers (the elements of its `sec-websocket-extensions`) can be taken as it is.
pub(super) fn is_offered<'a>(offers: impl IntoIterator<Item = &'a str>) -> bool {
    offers.into_iter().any(is_acceptable)
}

/// An offer is taken when its parameters are known, stand once, and ask for nothing but the full window of the server.
fn is_acceptable(offer: &str) -> bool {
    let mut parts = offer.split(';').map(str::trim);
    if !parts.next().is_some_and(|name| name.eq_ignore_ascii_case("permessage-deflate")) {
        return false;
    }
    let mut seen = Vec::new();
    parts.all(|part| {
        let (name, value) = part.split_once('=').map_or((part, None), |(name, value)| (name, Some(value)));
        let value = value.map(|value| value.trim().trim_matches('"'));
        let first = !seen.contains(&name);
        seen.push(name);
        first
            && match (name, value) {
                (
                    "server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits",
                    None,
                ) => true,
                ("client_max_window_bits", Some(bits)) => matches!(bits.parse(), Ok(8..=15)),
                ("server_max_window_bits", Some(bits)) => bits == "15",
                _ => false,
            }
    })
}

/// The blocks of a message's first part; other blocks may follow.
///
/// Invariant: the flush is whole. A call that begins with output of the one before does no more than write that: it may
/// leave room and yet hold back the end of the message, so only a call that began with nothing left over is the last
/// (`what_does_not_fit_at_once_is_not_held_back`).
pub(super) fn open(bytes: &[u8]) -> Bytes {
    COMPRESS.with_borrow_mut(|compress| {
        compress.reset();
        let mut out = Vec::with_capacity(bytes.len() / 2 + 64);
        let mut rest = bytes;
        let mut left_over = false;
        loop {
            out.reserve(256);
            let before = compress.total_in();
            // Compressing into memory does not fail: the status only says whether there was room.
            let status = compress.compress_vec(rest, &mut out, FlushCompress::Sync);
            let taken = usize::try_from(compress.total_in() - before).unwrap_or(rest.len());
            rest = rest.get(taken..).unwrap_or_default();
            let full = out.len() == out.capacity();
            if status.is_err() || (rest.is_empty() && !full && !left_over) {
                return out.into();
            }
            left_over = full;
        }
    })
}

/// The last part of a message, uncompressed: a stored block, and the flush that a message ends with, less its end.
pub(super) fn stored(bytes: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(bytes.len() + 8);
    for block in bytes.chunks(MOST_STORED) {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.put_u8(0);
        out.put_u16_le(length);
        out.put_u16_le(!length);
        out.put_slice(block);
    }
    out.put_u8(0);
    out.into()
}

/// A whole message, less the end of its flush.
pub(super) fn whole(bytes: &[u8]) -> Bytes {
    let mut out = open(bytes);
    if out.ends_with(&FLUSH_END) {
        out.truncate(out.len() - FLUSH_END.len());
    }
    out
}

/// The message that a client compressed, which may have `limit` bytes.
pub(super) fn inflate(data: &[u8], limit: usize) -> Result<Vec<u8>, Violation> {
    // The flush's end, and an empty last block so that the decoder knows where the message ends.
    let whole = data.chain(&FLUSH_END[..]).chain(&[0x01, 0x00, 0x00, 0xff, 0xff][..]);
    let mut out = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let read = DeflateDecoder::new(std::io::BufReader::with_capacity(8 * 1024, whole))
        .take(most)
        .read_to_end(&mut out);
    match read {
        Ok(_) if out.len() > limit => Err(Violation::TooLarge),
        Ok(_) => Ok(out),
        Err(_) => Err(Violation::Protocol("a message can't be inflated")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1 << 20;

    fn text(length: usize) -> Vec<u8> {
        b"a message that repeats itself, ".iter().copied().cycle().take(length).collect()
    }

    proptest! {
        #[test]
        fn what_is_compressed_reads_back(bytes in proptest::collection::vec(any::<u8>(), 0..5000), repeat in 1usize..20) {
            let bytes = bytes.repeat(repeat);
            prop_assert_eq!(inflate(&whole(&bytes), LIMIT), Ok(bytes));
        }

        #[test]
        fn parts_of_different_compressors_are_one_message(shared: Vec<u8>, own: Vec<u8>) {
            let message = [&open(&shared)[..], &stored(&own)].concat();
            prop_assert_eq!(inflate(&message, LIMIT), Ok([shared, own].concat()));
        }

        #[test]
        fn garbage_is_a_violation_and_never_a_panic(bytes: Vec<u8>) {
            let _ = inflate(&bytes, 100);
        }
    }

    /// Bytes that get a little shorter, so that they overflow the room that is made for them at first.
    fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % 97) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn what_does_not_fit_at_once_is_not_held_back() {
        for seed in 0..40 {
            let bytes = noise(20_000 + 3_967 * usize::try_from(seed).unwrap(), seed);
            assert_eq!(inflate(&whole(&bytes), LIMIT).as_ref(), Ok(&bytes), "{} bytes", bytes.len());
        }
    }

    #[test]
    fn repetition_gets_shorter() {
        assert!(whole(&text(10_000)).len() < 500);
    }

    #[test]
    fn long_parts_are_stored_in_several_blocks() {
        let own = text(200_000);
        assert_eq!(inflate(&stored(&own), LIMIT), Ok(own));
    }

    /// A few bytes that would become megabytes must not.
    #[test]
    fn a_bomb_is_too_large() {
        let bomb = whole(&vec![0; 10_000_000]);
        assert!(bomb.len() < 100_000);
        assert_eq!(inflate(&bomb, LIMIT), Err(Violation::TooLarge));
        assert_eq!(inflate(&whole(&text(LIMIT)), LIMIT).map(|text| text.len()), Ok(LIMIT));
    }

    #[test]
    fn the_example_of_the_rfc_reads_back() {
        let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        assert_eq!(inflate(&hello, LIMIT), Ok(b"Hello".to_vec()));
    }

    #[test]
    fn offers_that_ask_for_what_we_cannot_do_are_passed_by() {
        for good in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=10; server_no_context_takeover",
            "Permessage-Deflate; server_max_window_bits=15",
        ] {
            assert!(is_offered([good]), "{good}");
        }
        for bad in [
            "x-webkit-deflate-frame",
            "permessage-deflate; server_max_window_bits=10",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; what",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        ] {
            assert!(!is_offered([bad]), "{bad}");
        }
        assert!(is_offered(["permessage-deflate; server_max_window_bits=9", "permessage-deflate"]));
    }
}
