//! Whether the broker takes this node for the owner of a partition, as far as this node knows.

/// Where a partition stands with its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// The broker has not heard of this owner: nothing is handed out.
    New,
    /// It has.
    Held,
    /// It may have given up this owner since: nothing fresh is handed out until it was heard again.
    Doubted,
    /// It is being told of a doubted owner.
    Asked,
    /// It goes to another owner: nothing is handed out or settled any more.
    Leaving,
}

impl Claim {
    /// The broker knows this owner. What it was told before there was doubt says nothing of after.
    pub(super) fn hear(&mut self) {
        if matches!(self, Self::New | Self::Asked) {
            *self = Self::Held;
        }
    }

    /// The broker may have given the partition to somebody else; whether that is to be asked.
    pub(super) fn doubt(&mut self) -> bool {
        let is_claimed = matches!(self, Self::Held | Self::Asked);
        if is_claimed {
            *self = Self::Doubted;
        }
        is_claimed
    }

    /// The broker is told how things stand, and says whether it has.
    pub(super) fn ask(&mut self) {
        if *self == Self::Doubted {
            *self = Self::Asked;
        }
    }

    /// Whether deliveries are settled here.
    pub(super) const fn settles(self) -> bool {
        matches!(self, Self::Held | Self::Doubted | Self::Asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_what_was_told_before_a_doubt_does_not_end_it() {
        let mut claim = Claim::New;
        claim.hear();
        assert!(claim == Claim::Held && claim.doubt());
        claim.hear();
        assert_eq!(claim, Claim::Doubted, "that commit was begun before");
        claim.ask();
        assert!(claim.settles() && claim != Claim::Held);
        claim.hear();
        assert_eq!(claim, Claim::Held);
    }

    #[test]
    fn what_goes_to_another_owner_stays_lost() {
        let mut claim = Claim::Leaving;
        claim.hear();
        claim.ask();
        assert!(!claim.doubt() && !claim.settles());
        assert_eq!(claim, Claim::Leaving);
    }
}
