//! Cursors, genuine and not: what a client says where it was.

use std::sync::Arc;

use busgate_core::{Cursor, EventName, MAX_CURSOR_BYTES, Passed, ReadRequest, Start, Transport};
use busgate_transports_log::{LogConfig, LogTransport};
use busgate_transports_memory::{MemoryConfig, MemoryTransport};

use crate::{
    errors::refused,
    input::Input,
    stage::{MESSAGES, block_on, event, fill, folder, needed},
};

/// An event that has messages, on a transport that can replay them.
struct Shelf {
    transport: Arc<dyn Transport>,
    event: EventName,
    cursors: Vec<Cursor>,
}

thread_local! {
    static SHELVES: Vec<Shelf> = block_on(async { vec![memory().await, log().await] });
}

async fn memory() -> Shelf {
    shelf(MemoryTransport::new(MemoryConfig::default())).await
}

async fn log() -> Shelf {
    // The files stay open when the folder goes.
    let folder = folder();
    shelf(needed(LogTransport::open(LogConfig::new(folder.path())).await)).await
}

async fn shelf<T: Transport>(transport: Arc<T>) -> Shelf {
    needed(fill(&transport, &event("other"), MESSAGES).await);
    let event = event("orders.created");
    let cursors = needed(fill(&transport, &event, MESSAGES).await);
    Shelf { transport, event, cursors }
}

/// The first byte says which genuine cursor is changed, or that the rest is a cursor as it is.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let choice = usize::from(input.byte());
    SHELVES.with(|shelves| {
        for shelf in shelves {
            let text = match shelf.cursors.get(choice) {
                Some(genuine) => changed(genuine, input),
                None => String::from_utf8_lossy(input.rest()).into_owned(),
            };
            match Cursor::new(&text) {
                Err(error) => {
                    assert!(!is_cursor(&text));
                    refused(&error);
                }
                Ok(cursor) => {
                    assert!(is_cursor(&text) && cursor.as_str() == text);
                    shelf.try_out(&cursor);
                }
            }
        }
    });
}

fn is_cursor(text: &str) -> bool {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "_.:~-".contains(letter);
    (1..=MAX_CURSOR_BYTES).contains(&text.len()) && text.chars().all(allowed)
}

/// A cursor with some of its letters replaced, and a tail.
fn changed(genuine: &Cursor, mut input: Input<'_>) -> String {
    let mut letters: Vec<char> = genuine.as_str().chars().collect();
    for _ in 0..input.byte() % 4 {
        let (at, letter) = (usize::from(input.byte()), char::from(input.byte()));
        let length = letters.len();
        if let Some(place) = letters.get_mut(at % length) {
            *place = letter;
        }
    }
    letters.extend(input.text().chars());
    letters.into_iter().collect()
}

impl Shelf {
    /// Whoever comes with any cursor has the rest of the event, or is told that this is none of its places.
    fn try_out(&self, cursor: &Cursor) {
        let had = self.had(cursor);
        let request =
            ReadRequest { start: Start::After(cursor.clone()), limit: 2 * MESSAGES, max_bytes: 1 << 20 };
        match block_on(self.transport.read(&self.event, request)) {
            Err(error) => refused(&error),
            Ok(page) => {
                let read: Vec<_> = page.messages.iter().map(|(cursor, _)| cursor.clone()).collect();
                assert!(self.cursors.ends_with(&read), "{cursor}: {read:?}");
                assert!(page.end && self.cursors.last() == Some(&page.next), "{cursor}: {page:?}");
                if page.gap.is_none() {
                    assert_eq!(had, Some(MESSAGES - read.len()), "{cursor}: no gap, and not all of the rest");
                }
            }
        }
    }

    /// How many of the messages a reader had who stands at this cursor: the first ones, and no others.
    fn had(&self, cursor: &Cursor) -> Option<usize> {
        let passed = |message| self.transport.passed(cursor, message);
        let verdicts: Result<Vec<_>, _> = self.cursors.iter().map(passed).collect();
        match verdicts {
            Err(error) => {
                refused(&error);
                None
            }
            Ok(verdicts) => {
                let had = verdicts.iter().take_while(|verdict| **verdict == Passed::Had).count();
                assert!(
                    verdicts.iter().skip(had).all(|verdict| *verdict != Passed::Had),
                    "{cursor}: {verdicts:?}"
                );
                Some(had)
            }
        }
    }
}
