//! Blinded blocks that our proposers signed, as files beside the offers.

use super::OfferStore;
use crate::error::BlocksError;
use alloy_primitives::B256;
use std::fs;
use tandem_beacon::{MAX_BLOCK_BYTES, SignedBlindedBeaconBlock};
use tandem_types::{Slot, ValidatorIndex};

impl OfferStore {
    /// Writes a blinded block that came back, by its root; durable when this returns.
    ///
    /// # Errors
    /// [`BlocksError::Io`].
    pub fn put_blinded(&self, root: B256, block: &SignedBlindedBeaconBlock) -> Result<(), BlocksError> {
        self.write(&format!("{root:x}.blinded"), &tandem_beacon::encode(block))
    }

    /// Reads a blinded block back by its root.
    ///
    /// # Errors
    /// [`BlocksError::Io`], [`BlocksError::Damaged`].
    pub fn blinded(&self, root: B256) -> Result<SignedBlindedBeaconBlock, BlocksError> {
        let path = self.dir.join(format!("{root:x}.blinded"));
        let raw = fs::read(&path).map_err(|source| BlocksError::Io { what: "read", path: path.clone(), source })?;
        tandem_beacon::decode(&raw, MAX_BLOCK_BYTES).map_err(|e| BlocksError::Damaged { path, why: e.to_string() })
    }

    /// Removes a block that was refused after all. What can not be removed now goes with its slot's offers.
    pub fn forget_blinded(&self, root: B256) {
        let _ = fs::remove_file(self.dir.join(format!("{root:x}.blinded")));
    }

    /// The root of another block than this one that is written for a slot and its proposer. Files that can not be
    /// read are none.
    ///
    /// # Errors
    /// [`BlocksError::Io`] if the folder can not be listed.
    pub fn other_blinded(&self, root: B256, slot: Slot, proposer: ValidatorIndex) -> Result<Option<B256>, BlocksError> {
        let list = fs::read_dir(&self.dir).map_err(|source| BlocksError::Io {
            what: "list",
            path: self.dir.clone(),
            source,
        })?;
        let roots = list.flatten().filter_map(|e| {
            let path = e.path();
            let is_block = path.extension().is_some_and(|x| x == "blinded");
            path.file_stem().filter(|_| is_block)?.to_str()?.parse::<B256>().ok()
        });
        let is_of = |other: &B256| {
            let block = self.blinded(*other).map(|b| b.message);
            block.is_ok_and(|b| b.slot == slot && b.proposer_index == proposer)
        };
        Ok(roots.filter(|other| *other != root).find(is_of))
    }
}
