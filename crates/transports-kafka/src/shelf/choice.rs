//! Which messages are set aside, when there is too much for a commit to tell.

use busgate_core::{Group, Moment, Standing, Unfinished};

use super::{MAX_ASIDE, Shelf};
use crate::offsets::{self, Author};

/// How many messages are set aside with one commit.
pub(super) const MAX_AT_ONCE: usize = 2048;

/// The messages that had better be set aside: the lowest ones.
///
/// There are two reasons. A commit that tells of too many messages over too wide a span leaves no room for fresh ones:
/// whatever they wait for, they make room. And one that has no room for attempts and delays forgets them: those that have
/// some go where they are kept. Those that are leased mostly end before their record would be written, so they stay.
pub(super) fn choose(shelf: &Shelf, group: &Group, author: Author, now: Moment, limit: usize) -> Vec<u64> {
    let space = offsets::space(limit);
    let runs = space / offsets::RUN;
    let known = || group.unfinished_from(shelf.floor(group)).filter(|known| !shelf.covers(known.offset));
    let most = MAX_AT_ONCE.min(MAX_ASIDE.saturating_sub(shelf.held.len().max(shelf.flight.records.len())));
    let on_their_way = shelf.flight.records.difference(&shelf.held).count() as u64;
    let count = shelf.left(group).saturating_sub(on_their_way);
    if count * 2 <= runs || most == 0 {
        return Vec::new();
    }
    let too_many = usize::try_from(count - runs / 4).unwrap_or(usize::MAX).min(most);
    let lowest = known().next().map_or(0, |known| known.offset);
    let span = |offset: u64| group.frontier().saturating_sub(offset);
    if span(lowest) * 2 > space * 8 {
        let in_the_way = known().take_while(|known| span(known.offset) * 4 > space * 8);
        return in_the_way.map(|known| known.offset).take(too_many).collect();
    }
    if offsets::is_exact(group, shelf, author, now, limit) {
        return Vec::new();
    }
    known().filter(has_a_past).map(|known| known.offset).take(too_many).collect()
}

fn has_a_past(known: &Unfinished) -> bool {
    match known.standing {
        Standing::Waiting(_) => true,
        Standing::Back => known.attempts > 0,
        Standing::Fresh | Standing::Leased(_) => false,
    }
}
