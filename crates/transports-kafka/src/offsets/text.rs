//! Bytes as the text a commit's metadata has to be.

/// What marks metadata of ours, and its version.
const MARK: &str = "busgate/1 ";

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// How many bytes fit into a text of `limit`.
pub(super) const fn room(limit: usize) -> usize {
    limit.saturating_sub(MARK.len()) / 4 * 3
}

pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(MARK.len() + bytes.len().div_ceil(3) * 4);
    text.push_str(MARK);
    for chunk in bytes.chunks(3) {
        let mut group = 0_u32;
        for nth in 0..3 {
            group = group << 8 | u32::from(chunk.get(nth).copied().unwrap_or_default());
        }
        for nth in 0..=chunk.len() {
            let digit = group >> (18 - 6 * nth) & 63;
            text.push(ALPHABET.get(digit as usize).copied().map_or('A', char::from));
        }
    }
    text
}

/// The bytes of a text of ours; `None` for any other.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix(MARK)?.as_bytes();
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for chunk in digits.chunks(4) {
        let mut group = 0_u32;
        for nth in 0..4 {
            group = group << 6 | chunk.get(nth).map_or(Some(0), |digit| value(*digit))?;
        }
        let whole = group.to_be_bytes();
        bytes.extend(whole.get(1..chunk.len())?);
    }
    Some(bytes)
}

fn value(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    };
    Some(value.into())
}
