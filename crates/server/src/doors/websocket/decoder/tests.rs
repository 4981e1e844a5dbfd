//! The laws of the decoder.

use proptest::prelude::*;

use super::*;

const LIMIT: usize = 70_000;

/// A client's frame.
fn framed(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x22, 0x33, 0x44];
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        medium @ 126..65536 => {
            frame.push(0x80 | 126);
            frame.extend((medium as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Everything in `input`, given in chunks of `chunk` bytes.
fn decode(input: &[u8], chunk: usize) -> Result<Vec<Incoming>, Violation> {
    let mut decoder = Decoder::new(LIMIT, true);
    let mut all = Vec::new();
    for mut part in input.chunks(chunk) {
        while let Some(incoming) = decoder.next(&mut part)? {
            all.push(incoming);
        }
        assert!(part.is_empty(), "all of a chunk is taken");
    }
    Ok(all)
}

fn violation(input: &[u8]) -> Violation {
    decode(input, 7).unwrap_err()
}

#[test]
fn every_length_form_is_read_in_any_chunks() {
    for length in [0, 1, 125, 126, 65535, 65536, LIMIT] {
        let payload: Vec<u8> = (0..length).map(|n| n as u8).collect();
        let expected = [Incoming::Binary(payload.clone().into())];
        for chunk in [1, 3, 5, 4096, usize::MAX] {
            assert_eq!(decode(&framed(0x82, &payload), chunk).unwrap(), expected, "{length} by {chunk}");
        }
    }
}

#[test]
fn fragments_are_one_message_with_control_frames_in_between() {
    let input = [
        framed(0x01, "gr\u{fc}".as_bytes().split_at(3).0),
        framed(0x89, b"are you there"),
        framed(0x00, "gr\u{fc}".as_bytes().split_at(3).1),
        framed(0x8a, b""),
        framed(0x80, b"n"),
    ]
    .concat();
    let expected =
        [Incoming::Ping("are you there".into()), Incoming::Pong, Incoming::Text("gr\u{fc}n".into())];
    assert_eq!(decode(&input, 2).unwrap(), expected);
}

#[test]
fn a_limit_counts_all_fragments() {
    let half = vec![0; LIMIT / 2];
    let input = [framed(0x02, &half), framed(0x80, &half)].concat();
    assert_eq!(decode(&input, 4096).unwrap().len(), 1);
    let input = [framed(0x02, &half), framed(0x00, &half), framed(0x80, &[0])].concat();
    assert_eq!(violation(&input), Violation::TooLarge);
}

#[test]
fn a_huge_length_is_refused_by_its_header_alone() {
    let header = [0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    assert_eq!(violation(&header), Violation::TooLarge);
}

#[test]
fn a_header_alone_costs_little_memory() {
    let mut decoder = Decoder::new(1 << 30, false);
    let mut header: &[u8] = &[0x82, 0xff, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(decoder.next(&mut header).unwrap(), None);
    assert!(decoder.message.unwrap().data.capacity() <= FIRST_ROOM);
}

#[test]
fn text_must_be_utf_8() {
    for bad in [&b"\xc3\x28"[..], b"\xed\xa0\x80", b"\xff", b"ok\xc3"] {
        assert_eq!(violation(&framed(0x81, bad)), Violation::NotText);
    }
    assert_eq!(violation(&framed(0x88, b"\x03\xe8\xff")), Violation::NotText);
}

#[test]
fn what_the_protocol_forbids_is_a_violation() {
    let unmasked = vec![0x81, 0x01, b'a'];
    let padded = vec![0x81, 0x80 | 126, 0, 5, 0, 0, 0, 0];
    let padded_more = vec![0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];
    let cases = [
        ("unmasked", unmasked),
        ("16-bit length", padded),
        ("64-bit length", padded_more),
        ("reserved bit", framed(0xc1, b"")),
        ("reserved data opcode", framed(0x83, b"")),
        ("reserved control opcode", framed(0x8b, b"")),
        ("fragmented ping", framed(0x09, b"")),
        ("long ping", framed(0x89, &[0; 126])),
        ("continuation of nothing", framed(0x80, b"")),
        ("message in a message", [framed(0x01, b"a"), framed(0x81, b"b")].concat()),
        ("half a close code", framed(0x88, b"\x03")),
        ("close code 1005", framed(0x88, &1005_u16.to_be_bytes())),
        ("close code 999", framed(0x88, &999_u16.to_be_bytes())),
        ("close code 5000", framed(0x88, &5000_u16.to_be_bytes())),
    ];
    for (name, input) in cases {
        assert!(matches!(violation(&input), Violation::Protocol(_)), "{name}");
    }
}

#[test]
fn a_close_may_be_empty_or_have_a_code_and_a_reason() {
    for (payload, code) in [(&b""[..], None), (b"\x03\xe8", Some(1000)), (b"\x0f\xa0bye", Some(4000))] {
        assert_eq!(decode(&framed(0x88, payload), 3).unwrap(), [Incoming::Close(code)]);
    }
}

proptest! {
    #[test]
    fn messages_survive_any_fragments_and_chunks(
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..6),
        chunk in 1usize..64,
    ) {
        let mut input = Vec::new();
        for (n, part) in parts.iter().enumerate() {
            let first = if n == 0 { 0x02 } else { 0x00 };
            let last = if n + 1 == parts.len() { 0x80 } else { 0x00 };
            input.extend(framed(first | last, part));
        }
        prop_assert_eq!(decode(&input, chunk).unwrap(), [Incoming::Binary(parts.concat().into())]);
    }

    #[test]
    fn garbage_never_panics(input: Vec<u8>, chunk in 1usize..32) {
        let _ = decode(&input, chunk);
    }
}
