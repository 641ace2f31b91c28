//! Promises whose nonce the chain has not reached when their slot comes: something below it is missing.
//! What became of that decides: a promise behind one that we broke is broken with it, since nothing else
//! kept it out; behind an excused one, or behind what was never promised, it is excused
//! (docs/adr/0007).

use super::Core;
use crate::{
    due::{DueSet, Promised, Standing},
    error::BlocksError,
};
use alloy_primitives::{Address, B256};
use std::collections::{HashMap, HashSet};
use tandem_types::{BlockId, Cause, Evidence, Fate, Slot};

/// A promise for an earlier slot.
#[derive(Clone, Copy, Debug)]
struct Before {
    nonce: u64,
    seq: u64,
    tx_hash: B256,
}

/// What senders were promised for earlier slots.
#[derive(Debug, Default)]
pub(super) struct Earlier(HashMap<Address, Vec<Before>>);

impl Core {
    /// What the senders that are behind were promised for slots before this one. The journal remembers
    /// settled promises for longer than the look-ahead reaches.
    pub(super) fn earlier_than(&self, slot: Slot, due: &DueSet) -> Earlier {
        let behind = due.items.iter().filter(|(_, s)| matches!(s, Standing::Behind(_)));
        let senders: HashSet<Address> = behind.map(|(p, _)| p.sender).collect();
        let mut found = Earlier::default();
        if senders.is_empty() {
            return found;
        }
        for key in self.door.journal().slots().into_iter().filter(|k| k.slot < slot) {
            for record in &self.duties(&key).promises {
                let Some((_, facts)) = record.promise().filter(|(_, f)| senders.contains(&f.sender)) else { continue };
                let before = Before { nonce: facts.nonce, seq: record.seq(), tx_hash: facts.hash };
                found.0.entry(facts.sender).or_default().push(before);
            }
        }
        found.0.values_mut().for_each(|all| all.sort_unstable_by_key(|b| (b.nonce, b.seq)));
        found
    }

    /// The fate of a promise that stands behind a missing nonce. What is final rests on final fates only.
    ///
    /// # Errors
    /// [`BlocksError::State`] where the fate of a promise before it is not known: nothing is excused by a
    /// guess.
    pub(super) fn behind(
        &self,
        p: &Promised,
        evidence: &Evidence,
        block: BlockId,
        earlier: &Earlier,
        is_final: bool,
    ) -> Result<Fate, BlocksError> {
        let missing = evidence.nonce.unwrap_or_default()..p.nonce;
        let all = earlier.0.get(&p.sender).map(Vec::as_slice).unwrap_or_default();
        let (mut follows, mut broken) = (None, None);
        for before in all.iter().filter(|b| missing.contains(&b.nonce)) {
            let known = self.door.journal().fate(before.seq);
            let fate = if is_final { known } else { known.or_else(|| self.fates.get(before.seq)) };
            match fate {
                Some(Fate::Broken { .. }) => broken = broken.or(Some(before.tx_hash)),
                Some(_) => follows = follows.or(Some(before.tx_hash)),
                None => {
                    let why = format!("promise {} hangs on promise {}, whose fate is not known", p.seq, before.seq);
                    return Err(BlocksError::State(why));
                }
            }
        }
        let evidence = Evidence { block: Some(block), follows: broken.or(follows), ..evidence.clone() };
        Ok(match broken {
            Some(_) => Fate::Broken { cause: Cause::LeftOut, evidence },
            None => Fate::Excused { cause: Cause::Predecessor, evidence },
        })
    }
}
