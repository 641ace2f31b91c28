//! The nodes that somebody without the state needs to execute again.

use crate::{Account, NodeSet, State, TrieError, state::path_of};
use alloy_primitives::{Address, B256, U256, map::HashMap};
use std::collections::{BTreeMap, BTreeSet};

/// What an execution read, and how it left the accounts.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    /// Accounts that were looked at, with the slots that were.
    pub read: BTreeMap<Address, BTreeSet<B256>>,
    /// The changes, as [`State::apply`] takes them.
    pub changed: HashMap<Address, Change>,
}

/// How an execution leaves one account.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Nonce, balance and code hash, or nothing if the account is gone.
    pub info: Option<(u64, U256, B256)>,
    /// True where the storage before is forgotten first.
    pub wiped: bool,
    /// Slots with their new values.
    pub slots: Vec<(B256, U256)>,
}

impl State {
    /// Applies a block's changes. Removals come last, so that over a witness no branch collapses that
    /// a later insert would have kept.
    ///
    /// # Errors
    /// [`TrieError::Blinded`] if the witness leaves a path out; some changes may then be in already,
    /// so work on a clone.
    pub fn apply<'a>(&mut self, changes: impl IntoIterator<Item = (&'a Address, &'a Change)>) -> Result<(), TrieError> {
        let mut removed = Vec::new();
        for (address, change) in changes {
            let account = self.changed(*address, change)?;
            match account {
                Some(account) if !account.is_empty() => self.put(*address, account)?,
                _ => removed.push(*address),
            }
        }
        removed.into_iter().try_for_each(|address| self.remove(address).map(drop))
    }

    fn changed(&self, address: Address, change: &Change) -> Result<Option<Account>, TrieError> {
        let Some((nonce, balance, code_hash)) = change.info else { return Ok(None) };
        let mut account = self.account(address)?.cloned().unwrap_or_default();
        (account.nonce, account.balance, account.code_hash) = (nonce, balance, code_hash);
        if change.wiped {
            account.clear_storage();
        }
        account.set_slots(change.slots.iter().copied())?;
        Ok(Some(account))
    }

    /// The nodes that reading and changing these needs: the paths of all that was touched, and the
    /// siblings into which branches collapse.
    ///
    /// # Errors
    /// [`TrieError::Blinded`] if this state is itself partial.
    pub fn witness(&self, touched: &Touched) -> Result<NodeSet, TrieError> {
        let mut nodes = NodeSet::default();
        let add = |nodes: &mut NodeSet, path: Vec<_>| path.into_iter().for_each(|n| nodes.insert(n));
        for (address, slots) in &touched.read {
            add(&mut nodes, self.as_ref().prove(&path_of(address))?);
            if let Some(account) = self.account(*address)? {
                for slot in slots {
                    add(&mut nodes, account.prove_slot(*slot)?.nodes);
                }
            }
        }
        self.add_siblings(touched, &mut nodes)?;
        Ok(nodes)
    }

    /// Tries the changes over the witness so far, and adds the node that is missing, until they pass.
    fn add_siblings(&self, touched: &Touched, nodes: &mut NodeSet) -> Result<(), TrieError> {
        loop {
            let mut partial = Self::from_witness(self.root(), nodes)?;
            let missing = match partial.apply(&touched.changed) {
                Ok(()) => return Ok(()),
                Err(TrieError::Blinded { hash, .. }) => hash,
                Err(e) => return Err(e),
            };
            let node = self.find(missing, &touched.changed)?;
            nodes.insert(node.ok_or(TrieError::Malformed("a change needs a node that the state lacks"))?);
        }
    }

    /// The node with this hash, in the account trie or in a changed account's storage. It is a child of
    /// a node on a changed path, so it is looked for there.
    fn find(
        &self,
        hash: B256,
        changed: &HashMap<Address, Change>,
    ) -> Result<Option<alloy_primitives::Bytes>, TrieError> {
        for (address, change) in changed {
            if let Some(node) = self.as_ref().child_near(&path_of(address), hash) {
                return Ok(Some(node));
            }
            if let Some(account) = self.account(*address)? {
                for (slot, _) in &change.slots {
                    if let Some(node) = account.storage_trie().child_near(&path_of(slot), hash) {
                        return Ok(Some(node));
                    }
                }
            }
        }
        Ok(None)
    }
}
