//! How a partition goes on as its last owner left it.

use std::sync::Arc;

use busgate_core::{Group, RetryPolicy, Unfinished};

use crate::{
    offsets::{Author, Handover},
    shelf::MAX_ASIDE,
};

/// A group that begins at an offset, with the rules of all groups here.
pub(super) fn begin(offset: u64, author: Author) -> Group {
    ruled(Group::new(offset, author.generation))
}

/// A group that goes on after a commit, and what of the records beside it counts.
pub(super) fn resume(
    handover: Handover,
    shelved: Vec<Unfinished>,
    author: Author,
    policy: &Arc<RetryPolicy>,
) -> (Group, Vec<Unfinished>) {
    let aside = within(shelved, handover.frontier);
    let unfinished = merged(handover.unfinished, &aside);
    (ruled(Group::resume(handover.frontier, author.generation, policy, unfinished)), aside)
}

fn ruled(group: Group) -> Group {
    group.with_confirmed_order().with_max_held(MAX_ASIDE)
}

/// Those that the commit tells to be beyond what it passes by.
fn within(mut known: Vec<Unfinished>, frontier: u64) -> Vec<Unfinished> {
    known.retain(|known| known.offset < frontier);
    known
}

/// What the commit tells and what was set aside; where both tell, the latter is newer.
fn merged(told: Vec<Unfinished>, aside: &[Unfinished]) -> Vec<Unfinished> {
    let mut all = told;
    all.retain(|told| aside.binary_search_by_key(&told.offset, |known| known.offset).is_err());
    all.extend_from_slice(aside);
    all.sort_unstable_by_key(|known| known.offset);
    all
}

#[cfg(test)]
mod tests {
    use busgate_core::{Keyed, Standing};

    use super::*;

    fn tried(offset: u64, attempts: u32) -> Unfinished {
        let (key, standing) = (Keyed::Unknown, Standing::Fresh);
        Unfinished { offset, attempts, epoch: 0, open: false, key, standing }
    }

    #[test]
    fn what_was_set_aside_is_newer_than_what_the_commit_tells() {
        let aside = within(vec![tried(2, 5), tried(9, 1)], 9);
        assert_eq!(aside, [tried(2, 5)], "from the frontier on nothing was handed out");
        let all = merged(vec![tried(2, 1), tried(4, 1)], &aside);
        assert_eq!(all, [tried(2, 5), tried(4, 1)]);
    }
}
