//! The text form of cursors of transports whose events have several partitions, or numbers wider than 64 bits.

use std::fmt::Write;

use super::{Position, check};
use crate::{Cursor, EventName, Passed, Result};

/// A place in each partition of an event, in one life of it: everything before the numbers in [`Places::next`] lies
/// behind. A message's own cursor is the place right after it, and tells in [`Places::own`] which partition it is in.
///
/// As text it is `<life>-<own>~<next>.<next>…-<check>` in hexadecimal digits, where zero is left out, and `own` as well
/// where the place is no message's. A partition beyond the last one told is at zero. A [`Position`] reads as the places
/// of an event with one partition.
///
/// Invariant: the text form does not change, as cursors outlive the program in its clients. The test
/// `the_text_form_of_places_stays` holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Which life of the event.
    pub life: u64,
    /// The partition of the message whose place this is.
    pub own: Option<u16>,
    /// For each partition the number that comes next.
    pub next: Vec<u128>,
    check: u32,
}

impl Places {
    /// The place before `next` that is no message's own.
    #[must_use]
    pub fn before(life: u64, event: &EventName, next: Vec<u128>) -> Self {
        Self { life, own: None, next, check: check(event) }
    }

    /// The same place as the own one of a message in partition `own`.
    #[must_use]
    pub fn of_message_in(self, own: u16) -> Self {
        Self { own: Some(own), ..self }
    }

    /// Reads a cursor.
    ///
    /// # Errors
    /// `invalid` when it is neither places nor a position.
    pub fn parse(cursor: &Cursor) -> Result<Self> {
        Self::read(cursor.as_str()).ok_or_else(Position::foreign)
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (life, places, check) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let (own, next) = match places.split_once('~') {
            None => (Some(0), vec![u64::from_str_radix(places, 16).ok()?.into()]),
            Some(("", next)) => (None, numbers(next)?),
            Some((own, next)) => (Some(u16::from_str_radix(own, 16).ok()?), numbers(next)?),
        };
        let (life, check) = (u64::from_str_radix(life, 16).ok()?, u32::from_str_radix(check, 16).ok()?);
        Some(Self { life, own, next, check })
    }

    /// The number that comes next in `partition`.
    #[must_use]
    pub fn in_partition(&self, partition: u16) -> u128 {
        self.next.get(usize::from(partition)).copied().unwrap_or(0)
    }

    /// Whether it belongs to an event of this name.
    #[must_use]
    pub fn is_of(&self, event: &EventName) -> bool {
        self.check == check(event)
    }

    /// As a cursor.
    ///
    /// # Errors
    /// `invalid` when there are so many partitions that it would be longer than a cursor may be.
    pub fn to_cursor(&self) -> Result<Cursor> {
        let mut text = format!("{:x}-", self.life);
        if let Some(own) = self.own {
            let _ = write!(text, "{own:x}");
        }
        text.push('~');
        let told = self.next.iter().rposition(|next| *next != 0).map_or(0, |last| last + 1);
        for (partition, next) in self.next.iter().take(told).enumerate() {
            if partition > 0 {
                text.push('.');
            }
            if *next != 0 {
                let _ = write!(text, "{next:x}");
            }
        }
        let _ = write!(text, "-{:08x}", self.check);
        Cursor::new(text)
    }

    /// The place right before the message whose own place `place` is, in the same text form. `None` for one of several
    /// partitions, where that is no single place, and where there can be no such message.
    ///
    /// # Errors
    /// `invalid` when it is neither places nor a position.
    pub fn before_message(place: &Cursor) -> Result<Option<Cursor>> {
        let places = Self::parse(place)?;
        let (Some(0), &[next]) = (places.own, &*places.next) else { return Ok(None) };
        let Some(next) = next.checked_sub(1) else { return Ok(None) };
        match Position::parse(place) {
            Ok(position) => position.at(position.next - 1).to_cursor(),
            Err(_) => Self { own: None, next: vec![next], ..places }.to_cursor(),
        }
        .map(Some)
    }

    /// What [`Transport::passed`](crate::Transport::passed) answers, for cursors that are places or positions. A message
    /// of another life than the reader's is one that it did not have.
    ///
    /// # Errors
    /// `invalid` when one of them is neither, they are of different events, or `message` is no message's own place.
    pub fn passed(reader: &Cursor, message: &Cursor) -> Result<Passed> {
        let (reader, message) = (Self::parse(reader)?, Self::parse(message)?);
        let own = message.own.filter(|_| reader.check == message.check).ok_or_else(Position::foreign)?;
        if reader.life == message.life && message.in_partition(own) <= reader.in_partition(own) {
            return Ok(Passed::Had);
        }
        // With one partition the tail's order is the partition's.
        let single = reader.next.len() <= 1 && message.next.len() <= 1;
        Ok(if single { Passed::NewFromHere } else { Passed::New })
    }
}

fn numbers(text: &str) -> Option<Vec<u128>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let number =
        |digits: &str| if digits.is_empty() { Some(0) } else { u128::from_str_radix(digits, 16).ok() };
    text.split('.').map(number).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn orders() -> EventName {
        EventName::new("orders").unwrap()
    }

    fn reader(life: u64, next: &[u128]) -> Cursor {
        Places::before(life, &orders(), next.to_vec()).to_cursor().unwrap()
    }

    fn message(life: u64, own: u16, next: &[u128]) -> Cursor {
        Places::before(life, &orders(), next.to_vec()).of_message_in(own).to_cursor().unwrap()
    }

    #[test]
    fn the_text_form_of_places_stays() {
        assert_eq!(message(7, 2, &[300, 0, 18, 0]).as_str(), "7-2~12c..12-a88ccdc9");
        assert_eq!(reader(7, &[]).as_str(), "7-~-a88ccdc9");
    }

    #[test]
    fn what_are_no_places_is_refused() {
        for text in [
            "1-~x-0",
            "1-~1",
            "1-1~2~3-0",
            "1-~1-2-3",
            "1-fffff~1-2",
            "~",
            "1-~100000000000000000000000000000000-0",
        ] {
            assert!(Places::parse(&Cursor::new(text).unwrap()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_reader_has_had_what_is_behind_it_in_the_partition_of_the_message() {
        let passed = |reader: &Cursor, message: &Cursor| Places::passed(reader, message).unwrap();
        assert_eq!(passed(&reader(1, &[5, 9]), &message(1, 1, &[7, 9])), Passed::Had);
        assert_eq!(passed(&reader(1, &[5, 9]), &message(1, 0, &[6, 2])), Passed::New);
        assert_eq!(passed(&reader(1, &[5]), &message(1, 1, &[5, 1])), Passed::New);
        assert_eq!(passed(&reader(2, &[5, 9]), &message(1, 0, &[1, 1])), Passed::New);
        assert_eq!(passed(&reader(1, &[5]), &message(1, 0, &[6])), Passed::NewFromHere);
        assert!(Places::passed(&reader(1, &[5]), &reader(1, &[5])).is_err());
    }

    #[test]
    fn a_position_reads_as_the_places_of_one_partition() {
        let position = Position::before(1, &orders(), 5).to_cursor().unwrap();
        assert_eq!(Places::passed(&position, &message(1, 0, &[5])).unwrap(), Passed::Had);
        assert_eq!(Places::passed(&reader(1, &[4]), &position).unwrap(), Passed::NewFromHere);
    }

    #[test]
    fn before_a_message_is_the_place_of_the_one_before() {
        let before = |place: &Cursor| Places::before_message(place).unwrap();
        let position = |next| Position::before(1, &orders(), next).to_cursor().unwrap();
        assert_eq!(before(&position(5)), Some(position(4)));
        assert_eq!(before(&position(0)), None);
        assert_eq!(before(&message(1, 0, &[300])), Some(reader(1, &[299])));
        assert_eq!(before(&message(1, 1, &[3, 4])), None);
    }

    proptest! {
        #[test]
        fn places_read_back(life: u64, own: Option<u16>, next in prop::collection::vec(any::<u128>(), 0..12)) {
            let mut places = Places::before(life, &orders(), next);
            places.own = own;
            let read = Places::parse(&places.to_cursor().unwrap()).unwrap();
            while places.next.last() == Some(&0) {
                places.next.pop();
            }
            prop_assert_eq!(read, places);
        }
    }
}
