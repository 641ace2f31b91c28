//! What this crate's tests share: a chain, a clock that stands still, and drafts that passed the guard.

use crate::{Checked, FirstUse, Journal, JournalConfig, RoomLimits, Storage, writer::Writer};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tandem_module::Clock;
use tandem_types::{
    BlockId, BlsPublicKey, Body, ChainSpec, Custom, InclusionPromise, ModuleId, Seal, SealedItem, SignerRef, Slot,
    SlotClock, SlotKey,
    body::{Constraints, Delegation, SeenSender, TxFacts},
    fabric::{self, G1},
    tagged,
};

/// A clock that stands until it is set.
#[derive(Default)]
pub(crate) struct StandingClock(AtomicU64);
impl StandingClock {
    pub(crate) fn set(&self, ms: u64) {
        self.0.store(ms, Ordering::SeqCst);
    }
}
impl Clock for StandingClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

pub(crate) fn chain() -> ChainSpec {
    ChainSpec {
        chain_id: 7,
        genesis_hash: B256::repeat_byte(7),
        genesis_validators_root: B256::ZERO,
        genesis_fork_version: [0, 0, 0, 7],
        fork_version: [6, 0, 0, 7],
        clock: SlotClock::real(1_000, 12),
        devnet: false,
    }
}

pub(crate) fn config() -> JournalConfig {
    JournalConfig {
        segment_bytes: 64 << 10,
        remember_slots: 2,
        room: RoomLimits { gas: 1_000_000, unsecured_percent: 50, blobs: 3, bytes: 100_000, count: 20 },
        ..JournalConfig::default()
    }
}

/// The group's generator: a key that is a point.
const PROPOSER: [u8; 48] = alloy_primitives::hex!(
    "97f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb"
);

pub(crate) fn slot(n: u64) -> SlotKey {
    SlotKey { chain_id: 7, proposer: BlsPublicKey::new(PROPOSER), slot: Slot::new(n) }
}

pub(crate) fn account(n: u8) -> Address {
    Address::repeat_byte(n)
}

/// A promise to be, as one line of a test.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) slot: u64,
    pub(crate) sender: u8,
    pub(crate) nonce: u64,
    /// Which of the transactions that this sender signed with this nonce.
    pub(crate) variant: u8,
    pub(crate) gas: u64,
    pub(crate) cost: u64,
    pub(crate) balance: u64,
    pub(crate) state_nonce: u64,
    pub(crate) has_code: bool,
    pub(crate) deposited: bool,
    pub(crate) authorities: Vec<(u8, u64)>,
    pub(crate) request: u8,
    /// Whether it has a blob, and so a sidecar beside the journal.
    pub(crate) blob: bool,
    /// Bytes that it is longer for nothing.
    pub(crate) padding: usize,
}

pub(crate) fn ask(slot: u64, sender: u8, nonce: u64) -> Ask {
    Ask {
        slot,
        sender,
        nonce,
        variant: 0,
        gas: 21_000,
        cost: 10,
        balance: 1_000,
        state_nonce: 0,
        has_code: false,
        deposited: true,
        authorities: Vec::new(),
        request: 0,
        blob: false,
        padding: 0,
    }
}

impl Ask {
    pub(crate) fn variant(self, variant: u8) -> Self {
        Self { variant, ..self }
    }
    pub(crate) fn facts(&self) -> TxFacts {
        let authorities: Vec<(Address, u64)> = self.authorities.iter().map(|(a, n)| (account(*a), *n)).collect();
        TxFacts {
            hash: keccak256(self.tx()),
            chain_id: Some(7),
            sender: account(self.sender),
            nonce: self.nonce,
            gas_limit: self.gas,
            max_fee_per_gas: 1,
            max_priority_fee_per_gas: 1,
            max_fee_per_blob_gas: 0,
            blob_hashes: if self.blob { vec![B256::repeat_byte(1)] } else { Vec::new() },
            cost: U256::from(self.cost),
            size: self.tx().len(),
            tx_type: if self.blob {
                3
            } else if authorities.is_empty() {
                2
            } else {
                4
            },
            authorities,
        }
    }
    /// Not a transaction: the tests of the guard have real ones.
    fn tx(&self) -> Vec<u8> {
        let mut tx = vec![2, self.sender, self.variant];
        tx.extend_from_slice(&self.nonce.to_be_bytes());
        tx.extend_from_slice(&self.gas.to_be_bytes());
        tx.extend_from_slice(&self.cost.to_be_bytes());
        self.authorities.iter().for_each(|(a, n)| tx.extend_from_slice(&[*a, *n as u8]));
        tx.extend(self.blob.then_some(3));
        tx.resize(tx.len() + self.padding, 9);
        tx
    }
    /// Its sidecar, where it has one. No real one either, and larger than what a disk writes at once.
    pub(crate) fn sidecar(&self) -> Option<Bytes> {
        self.blob.then(|| self.tx().repeat(60).into())
    }
    pub(crate) fn checked(&self) -> Checked {
        let key = slot(self.slot);
        let body = Body::Inclusion(InclusionPromise {
            key,
            tx: self.tx().into(),
            sidecar: self.sidecar().map(keccak256),
            request_hash: B256::repeat_byte(self.request),
            slasher: Address::ZERO,
            price: U256::from(5),
            deposited: self.deposited,
            private: false,
            seen: SeenSender {
                at: BlockId::default(),
                nonce: self.state_nonce,
                balance: U256::from(self.balance),
                has_code: self.has_code,
            },
        });
        let mut checked = check(body, SignerRef::Committer(key), "preconf", Some(self.facts()));
        checked.attachments = self.sidecar().map(|s| (keccak256(&s), s)).into_iter().collect();
        checked
    }
}

pub(crate) fn check(body: Body, signer: SignerRef, module: &str, facts: Option<TxFacts>) -> Checked {
    let module: ModuleId = module.parse().unwrap_or_else(|_| ModuleId::house());
    let derived = body.derive(&signer, &module, B256::repeat_byte(9), facts.as_ref()).unwrap();
    let signing_root =
        tagged::signing_root(derived.object_root, derived.signing_id, derived.nonce, 7, chain().genesis_fork_version);
    Checked { module, signer, body, facts, derived, signing_root, attachments: Vec::new() }
}

pub(crate) fn seal(n: u64, items: Vec<SealedItem>) -> Checked {
    check(Body::Seal(Seal { key: slot(n), items }), SignerRef::Nobody, "@house", None)
}

/// The slot's constraints over transactions, signed by a delegate that the tests do not look at.
pub(crate) fn constraints(n: u64, txs: &[(u64, Bytes)]) -> Checked {
    let key = slot(n);
    let g1 = G1::new(&key.proposer).unwrap();
    let payload = |(kind, tx): &(u64, Bytes)| (*kind, fabric::inclusion_payload(n, tx));
    let body = Body::Constraints(Constraints {
        chain_id: 7,
        proposer: g1,
        delegate: g1,
        slot: key.slot,
        constraints: txs.iter().map(payload).collect(),
        receivers: Vec::new(),
    });
    check(body, SignerRef::Delegate(key), "@house", None)
}

pub(crate) fn delegation(n: u64) -> Checked {
    let key = slot(n);
    let g1 = G1::new(&key.proposer).unwrap();
    let (chain_id, slot, committer) = (7, key.slot, Address::ZERO);
    let body = Delegation { chain_id, proposer: g1, delegate: g1, committer, slot, metadata: Bytes::new() };
    check(Body::Delegation(body), SignerRef::Validator(key.proposer), "@house", None)
}

pub(crate) fn custom(scope: Option<&str>, says: u8) -> Checked {
    let scope = scope.map(|s| Bytes::copy_from_slice(s.as_bytes()));
    let body = Body::Custom(Custom { tag: B256::repeat_byte(3), scope, body: vec![says].into() });
    check(body, SignerRef::Validator(BlsPublicKey::new([1; 48])), "oracle", None)
}

/// A journal whose writer is stepped by the test.
pub(crate) struct Stepped {
    pub(crate) journal: Journal,
    pub(crate) writer: Writer,
    pub(crate) clock: Arc<StandingClock>,
}

pub(crate) fn open(storage: Arc<dyn Storage>, first: FirstUse) -> Result<Stepped, crate::JournalError> {
    open_with(storage, config(), first)
}

pub(crate) fn open_with(
    storage: Arc<dyn Storage>,
    config: JournalConfig,
    first: FirstUse,
) -> Result<Stepped, crate::JournalError> {
    let clock = Arc::new(StandingClock::default());
    let (journal, writer) = Journal::open_stepped(storage, chain(), config, clock.clone(), first)?;
    Ok(Stepped { journal, writer, clock })
}
