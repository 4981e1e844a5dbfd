//! Places in events of several partitions, whoever wrote them: the one text form of all brokers' cursors.

use busgate_core::{Cursor, MAX_CURSOR_BYTES, Passed, Places, Position};

use crate::{errors::refused, input::Input};

/// The first piece is one cursor, the rest is another.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let reader = Cursor::new(input.text());
    let message = Cursor::new(String::from_utf8_lossy(input.rest()));
    let (Ok(reader), Ok(message)) = (reader, message) else { return };
    for cursor in [&reader, &message] {
        match Places::parse(cursor) {
            Err(error) => {
                refused(&error);
                assert!(Position::parse(cursor).is_err(), "{cursor} is a position, but no places");
            }
            Ok(places) => reads_back(cursor, &places),
        }
    }
    compared(&reader, &message);
}

/// What was read is written so that it reads the same, and its own message is one that it had.
fn reads_back(cursor: &Cursor, places: &Places) {
    match places.to_cursor() {
        Ok(written) => {
            let read = Places::parse(&written);
            let same = read.as_ref().is_ok_and(|read| read.to_cursor().is_ok_and(|again| again == written));
            assert!(same, "{cursor} became {written}, and that {read:?}");
            assert_eq!(Places::passed(cursor, cursor).ok(), Places::passed(&written, &written).ok());
        }
        // The digits of the check are always written, all eight of them.
        Err(error) => {
            assert!(cursor.as_str().len() + 8 > MAX_CURSOR_BYTES, "{cursor}: {error}");
            refused(&error);
        }
    }
    if let Ok(position) = Position::parse(cursor) {
        let next = u128::from(position.next);
        assert_eq!(
            (places.life, places.own, &*places.next),
            (position.life, Some(0), &[next][..]),
            "{cursor}"
        );
        let written = position.to_cursor().and_then(|written| Position::parse(&written));
        assert!(written.as_ref().is_ok_and(|written| *written == position), "{cursor} became {written:?}");
    }
    let own = Places::passed(cursor, cursor).ok();
    assert_eq!(own, places.own.map(|_| Passed::Had), "{cursor} for a reader who stands there");
    match Places::before_message(cursor) {
        Err(error) => unreachable!("{cursor} are places, but: {error}"),
        Ok(None) => {}
        Ok(Some(before)) => {
            assert_eq!(Places::passed(&before, cursor).ok(), Some(Passed::NewFromHere), "{before} {cursor}");
            assert!(Places::parse(&before).is_ok_and(|before| before.life == places.life));
        }
    }
}

/// Two cursors can be compared, or one of them is refused; and whoever is further had what another one had.
fn compared(reader: &Cursor, message: &Cursor) {
    match Places::passed(reader, message) {
        Err(error) => refused(&error),
        Ok(Passed::New | Passed::NewFromHere) => {}
        Ok(Passed::Had) => {
            let (Ok(reader), Ok(message)) = (Places::parse(reader), Places::parse(message)) else {
                unreachable!("what was compared are places")
            };
            let own = message.own.unwrap_or_default();
            assert!(reader.in_partition(own) >= message.in_partition(own));
        }
    }
}
