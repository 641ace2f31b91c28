//! The kinds of contradictions.

use std::fmt;

/// What is wrong with what clients received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Two transactions are promised for one nonce.
    Double,
    /// A promise was repeated with other bytes.
    Changed,
    /// A promise was refused when it was asked for again, or is not known any more.
    Forgotten,
    /// The chain shows that a promise was not kept, and excuses nothing.
    Lost,
    /// Something was refused for the sake of a promise that nobody has.
    Denied,
    /// No answer came, however often it was asked for.
    Silent,
    /// More is promised than there is room.
    Room,
    /// A promise is not what was asked for, or its signature does not hold.
    Invalid,
    /// A slot's delegation does not hold, or changed.
    Delegation,
    /// A slot's completeness root is not that of its promises.
    Completeness,
    /// A nonce is promised whose predecessor is not.
    Gap,
    /// More slots have no block than kills explain.
    Missed,
    /// A relay was given two different messages for one slot.
    Constraints,
    /// What the host tells of a final slot is not what the chain shows.
    Fate,
    /// After a kill no honest request succeeded in time.
    Unready,
    /// The rig itself can not go on.
    Rig,
}

impl Kind {
    /// Whether it shows that a promise was spoken which is not recorded: what an acknowledgement before
    /// the write leads to.
    pub const fn is_loss(self) -> bool {
        matches!(self, Self::Double | Self::Changed | Self::Forgotten | Self::Lost | Self::Constraints)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Double => "double",
            Self::Changed => "changed",
            Self::Forgotten => "forgotten",
            Self::Lost => "lost",
            Self::Denied => "denied",
            Self::Silent => "silent",
            Self::Room => "room",
            Self::Invalid => "invalid",
            Self::Delegation => "delegation",
            Self::Completeness => "completeness",
            Self::Gap => "gap",
            Self::Missed => "missed",
            Self::Constraints => "constraints",
            Self::Fate => "fate",
            Self::Unready => "unready",
            Self::Rig => "rig",
        };
        f.write_str(name)
    }
}
