//! What the house knows beside the journal: which slots are offered now.

use tandem_journal::BlockLimits;
use tandem_module::Refusal;
use tandem_types::SlotKey;

/// Says whether promises are made for a slot now. The floor above implements it, and sets it once for all
/// doors ([`crate::Door::set_offers`]); before that nothing is promised.
///
/// It is asked right before each new promise is decided, so that a module which never looked, or looked a
/// while ago, promises nothing where the house would not. It is not asked for what was promised before:
/// that is said again whatever holds now.
pub trait Offers: Send + Sync {
    /// Refuses a slot that is not offered, and answers what the block of one that is can hold: nothing is
    /// promised beyond that, whatever room is configured. Who does not know it refuses. It is called on the
    /// promise path, and must neither block nor call the door.
    ///
    /// # Errors
    /// Why not, as it is handed to the module.
    fn offered(&self, key: &SlotKey) -> Result<BlockLimits, Refusal>;
}
