//! The world's state: accounts whose leaves hold their storage.

use crate::{AccountProof, FromWitness, Leaf, NodeSet, StorageProof, Trie, TrieError};
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_rlp::{Decodable, Encodable};
use alloy_trie::{KECCAK_EMPTY, Nibbles, TrieAccount};

/// An account with its storage. A clone shares the storage.
#[derive(Clone, Debug)]
pub struct Account {
    /// Transactions sent, or contracts created.
    pub nonce: u64,
    /// Balance in wei.
    pub balance: U256,
    /// Hash of the code; [`KECCAK_EMPTY`] for none.
    pub code_hash: B256,
    storage: Trie<U256>,
}

impl Default for Account {
    fn default() -> Self {
        Self { nonce: 0, balance: U256::ZERO, code_hash: KECCAK_EMPTY, storage: Trie::default() }
    }
}

impl PartialEq for Account {
    fn eq(&self, other: &Self) -> bool {
        self.as_trie_account() == other.as_trie_account()
    }
}

impl Eq for Account {}

impl Account {
    /// The root of its storage.
    pub fn storage_root(&self) -> B256 {
        self.storage.root()
    }

    /// A slot's value, zero where nothing is stored.
    ///
    /// # Errors
    /// [`TrieError::Blinded`] if the witness leaves the slot out.
    pub fn slot(&self, slot: B256) -> Result<U256, TrieError> {
        Ok(self.storage.get(&path_of(slot))?.copied().unwrap_or_default())
    }

    /// Puts a slot; zero removes it.
    ///
    /// # Errors
    /// [`TrieError::Blinded`] if the witness leaves the path out.
    pub fn set_slot(&mut self, slot: B256, value: U256) -> Result<(), TrieError> {
        if value.is_zero() {
            self.storage.remove(&path_of(slot)).map(drop)
        } else {
            self.storage.insert(&path_of(slot), value)
        }
    }

    /// Puts several slots. Removals come last, so that over a witness no branch collapses which a
    /// later insert would have kept.
    ///
    /// # Errors
    /// [`TrieError::Blinded`] if the witness leaves a path out.
    pub fn set_slots(&mut self, slots: impl IntoIterator<Item = (B256, U256)>) -> Result<(), TrieError> {
        let mut removed = Vec::new();
        for (slot, value) in slots {
            if value.is_zero() { removed.push(slot) } else { self.set_slot(slot, value)? }
        }
        removed.into_iter().try_for_each(|slot| self.set_slot(slot, U256::ZERO))
    }

    /// Forgets the storage.
    pub fn clear_storage(&mut self) {
        self.storage = Trie::default();
    }

    /// The nodes that prove a slot.
    ///
    /// # Errors
    /// [`TrieError::Blinded`] if the witness leaves the slot out.
    pub fn prove_slot(&self, slot: B256) -> Result<StorageProof, TrieError> {
        Ok(StorageProof { slot, value: self.slot(slot)?, nodes: self.storage.prove(&path_of(slot))? })
    }

    /// Empty in the sense of EIP-161: the state does not keep it.
    pub fn is_empty(&self) -> bool {
        self.nonce == 0 && self.balance.is_zero() && self.code_hash == KECCAK_EMPTY
    }

    pub(crate) const fn storage_trie(&self) -> &Trie<U256> {
        &self.storage
    }

    fn as_trie_account(&self) -> TrieAccount {
        TrieAccount {
            nonce: self.nonce,
            balance: self.balance,
            storage_root: self.storage_root(),
            code_hash: self.code_hash,
        }
    }
}

impl Leaf for Account {
    fn encode_leaf(&self, out: &mut Vec<u8>) {
        self.as_trie_account().encode(out);
    }
}

impl FromWitness for Account {
    fn decode_leaf(mut bytes: &[u8], nodes: &NodeSet) -> Result<Self, TrieError> {
        let a = TrieAccount::decode(&mut bytes).map_err(|_| TrieError::Malformed("an account leaf is no account"))?;
        if !bytes.is_empty() {
            return Err(TrieError::Malformed("trailing bytes after an account"));
        }
        let storage = Trie::from_witness(a.storage_root, nodes)?;
        Ok(Self { nonce: a.nonce, balance: a.balance, code_hash: a.code_hash, storage })
    }
}

/// The state of a block. A clone is a snapshot and costs nothing.
#[derive(Clone, Debug, Default)]
pub struct State {
    accounts: Trie<Account>,
}

/// Where an address or a slot is in a secure trie.
pub(crate) fn path_of(key: impl AsRef<[u8]>) -> Nibbles {
    Nibbles::unpack_array(&keccak256(key).0)
}

impl State {
    /// The state with this root as far as the witness's nodes have it.
    ///
    /// # Errors
    /// [`TrieError::Malformed`] if a node is none of a state.
    pub fn from_witness(root: B256, nodes: &NodeSet) -> Result<Self, TrieError> {
        Ok(Self { accounts: Trie::from_witness(root, nodes)? })
    }

    /// The state root. Costs what changed since it was asked last.
    pub fn root(&self) -> B256 {
        self.accounts.root()
    }

    /// An account, or nothing if there is none.
    ///
    /// # Errors
    /// [`TrieError::Blinded`] if the witness leaves it out.
    pub fn account(&self, address: Address) -> Result<Option<&Account>, TrieError> {
        self.accounts.get(&path_of(address))
    }

    /// A slot's value, zero where nothing is stored.
    ///
    /// # Errors
    /// [`TrieError::Blinded`] if the witness leaves it out.
    pub fn slot(&self, address: Address, slot: B256) -> Result<U256, TrieError> {
        self.account(address)?.map_or(Ok(U256::ZERO), |a| a.slot(slot))
    }

    /// Changes an account, made if there was none; one that is then empty is removed (EIP-161).
    ///
    /// # Errors
    /// [`TrieError::Blinded`] if the witness leaves a path out.
    pub fn update(&mut self, address: Address, change: impl FnOnce(&mut Account)) -> Result<(), TrieError> {
        let mut account = self.account(address)?.cloned().unwrap_or_default();
        change(&mut account);
        self.put(address, account)
    }

    /// Puts an account; an empty one is removed.
    ///
    /// # Errors
    /// [`TrieError::Blinded`] if the witness leaves a path out.
    pub fn put(&mut self, address: Address, account: Account) -> Result<(), TrieError> {
        let path = path_of(address);
        if account.is_empty() { self.accounts.remove(&path).map(drop) } else { self.accounts.insert(&path, account) }
    }

    /// Removes an account; tells whether there was one.
    ///
    /// # Errors
    /// [`TrieError::Blinded`] if the witness leaves a path out.
    pub fn remove(&mut self, address: Address) -> Result<bool, TrieError> {
        self.accounts.remove(&path_of(address))
    }

    /// Proves an account and some of its slots, there or not.
    ///
    /// # Errors
    /// [`TrieError::Blinded`] if the witness leaves a path out.
    pub fn prove(&self, address: Address, slots: &[B256]) -> Result<AccountProof, TrieError> {
        let account = self.account(address)?.cloned();
        let nodes = self.accounts.prove(&path_of(address))?;
        let none = Account::default();
        let of = account.as_ref().unwrap_or(&none);
        let storage = slots.iter().map(|s| of.prove_slot(*s)).collect::<Result<_, _>>()?;
        Ok(AccountProof { address, account, nodes, storage })
    }
}

impl AsRef<Trie<Account>> for State {
    fn as_ref(&self) -> &Trie<Account> {
        &self.accounts
    }
}
