//! Which partition a key belongs to: as every client of Kafka in Java has it.

/// The partition of a key among `count`.
///
/// Invariant: it is the Java client's, so that native publishers and doors put a key in the same partition: the test
/// `keys_go_where_the_java_client_puts_them` holds it.
pub(crate) fn partition_of(key: &[u8], count: u16) -> i32 {
    (murmur2(key) & 0x7fff_ffff) as i32 % i32::from(count.max(1))
}

/// Austin Appleby's `MurmurHash2` with the seed of Kafka.
fn murmur2(key: &[u8]) -> u32 {
    const MIX: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    let mut hash = SEED ^ key.len() as u32;
    let mut words = key.chunks_exact(4);
    for word in &mut words {
        let mut bits = word.iter().rev().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        bits = bits.wrapping_mul(MIX);
        bits ^= bits >> 24;
        hash = hash.wrapping_mul(MIX) ^ bits.wrapping_mul(MIX);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        hash ^= rest.iter().rev().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        hash = hash.wrapping_mul(MIX);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MIX);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_the_java_client_puts_them() {
        // The figures of Kafka's own tests.
        for (key, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
        assert_eq!(partition_of(b"foobar", 4), (-790_332_482_i32 & 0x7fff_ffff) % 4);
    }
}
