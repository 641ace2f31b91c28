//! What is due: the sealed list, walked over a parent's post-state. Pure.
//!
//! For each candidate parent, in the order of the seal: a transaction that an ancestor has is out; one
//! whose sender's nonce is above, whose balance is short or whose sender grew code is excused, and so
//! are that sender's later promises; one whose nonce the sender has not reached is behind; the rest is
//! due.

use alloy_primitives::{Address, B256, Bytes, U256};
use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    sync::OnceLock,
};
use tandem_beacon::inclusion::transaction_root;
use tandem_journal::Recorded;
use tandem_types::{BlockId, Cause, Duty, Evidence, Place, SlotKey, body::TxFacts};

/// One promised transaction of a slot, as the journal's duty states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promised {
    /// The record's sequence number: the order of the seal.
    pub seq: u64,
    /// Whose slot.
    pub key: SlotKey,
    /// Canonical EIP-2718 bytes.
    pub tx: Bytes,
    /// Transaction hash.
    pub tx_hash: B256,
    /// Sender.
    pub sender: Address,
    /// Nonce.
    pub nonce: u64,
    /// The most it can cost, in wei.
    pub cost: U256,
    /// Hash of its retained blob sidecar.
    pub sidecar: Option<B256>,
    /// Where it must stand.
    pub place: Place,
    /// Kept out of the public pool.
    pub private: bool,
    /// Whether the sender had code when promised.
    pub sender_had_code: bool,
    /// Gas limit.
    pub gas_limit: u64,
    /// Accounts that it changes by authorizations (EIP-7702).
    pub authorities: Vec<Address>,
    /// See [`Self::tx_root`].
    root: OnceLock<B256>,
}

impl Promised {
    /// From a durable record; `None` where it is no inclusion promise.
    pub fn of(record: &Recorded) -> Option<Self> {
        Some(Self::owed(record.seq(), record.facts()?, record.duty()?))
    }

    /// From a duty, and its transaction's facts.
    pub fn owed(seq: u64, facts: &TxFacts, duty: Duty) -> Self {
        let Duty::Include { key, tx, tx_hash, sender, nonce, cost, sidecar, place, private, sender_had_code } = duty;
        Self {
            seq,
            gas_limit: facts.gas_limit,
            authorities: facts.authorities.iter().map(|(a, _)| *a).collect(),
            root: OnceLock::new(),
            key,
            tx,
            tx_hash,
            sender,
            nonce,
            cost,
            sidecar,
            place,
            private,
            sender_had_code,
        }
    }

    /// The transaction's SSZ root, the leaf of its inclusion proof. Computed once: a header call has no time
    /// for it.
    pub fn tx_root(&self) -> B256 {
        // Above 2³⁰ bytes there is no root: no proof is of this one, and nothing so long is promised.
        *self.root.get_or_init(|| transaction_root(&self.tx).unwrap_or_default())
    }
}

/// A sender in the parent's post-state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountView {
    /// Nonce.
    pub nonce: u64,
    /// Balance in wei.
    pub balance: U256,
    /// Whether it has code.
    pub has_code: bool,
    /// The code's Keccak hash, where there is code.
    pub code_hash: Option<B256>,
}

/// How a promise stands on one parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It must be in the block.
    Due,
    /// An ancestor has it.
    Early(BlockId),
    /// It can not be in the block, and not by our fault.
    Excused(Cause, Evidence),
    /// It can not be in the block, since a nonce below its own is missing on this chain. Whether that is
    /// our fault is for the fate of what is missing to say.
    Behind(Evidence),
}

/// The sealed list as it stands on one parent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DueSet {
    /// The parent.
    pub parent: BlockId,
    /// Every sealed promise with its standing, in the order of the seal.
    pub items: Vec<(Promised, Standing)>,
}

impl DueSet {
    /// What must be in the block, in the order of the seal.
    pub fn due(&self) -> impl Iterator<Item = &Promised> {
        self.items.iter().filter(|(_, s)| *s == Standing::Due).map(|(p, _)| p)
    }
    /// Has the roots of all transactions ready that a relay's proofs may be of.
    pub fn prepare_roots(&self) {
        for (p, _) in &self.items {
            p.tx_root();
        }
    }
    /// How many are due.
    pub fn len(&self) -> usize {
        self.due().count()
    }
    /// Whether nothing is due.
    pub fn is_empty(&self) -> bool {
        self.due().next().is_none()
    }
    /// A promise's standing.
    pub fn standing(&self, seq: u64) -> Option<&Standing> {
        self.items.iter().find(|(p, _)| p.seq == seq).map(|(_, s)| s)
    }
}

/// A sender as the walk carries it on.
struct Carried {
    account: AccountView,
    /// The first of its promises that was excused, whose successors follow it.
    excused: Option<B256>,
}

/// Walks the sealed list over `accounts`, the senders in `parent`'s post-state. `included` tells the
/// ancestor (or `parent` itself) that already has a transaction.
///
/// A sender that `accounts` does not have counts as one without nonce or balance: the caller has to
/// ask for every sender, and must not call this when it could not.
pub fn walk(
    sealed: &[Promised],
    parent: BlockId,
    accounts: &HashMap<Address, AccountView>,
    included: impl Fn(B256) -> Option<BlockId>,
) -> DueSet {
    let mut carried: HashMap<Address, Carried> = HashMap::new();
    let mut items: Vec<(usize, Promised, Standing)> = Vec::with_capacity(sealed.len());
    // A lower nonce may be sealed later: promised again after the slot that it was promised for first.
    let mut rising: Vec<(usize, &Promised)> = sealed.iter().enumerate().collect();
    rising.sort_by_key(|(_, p)| p.nonce);
    for (place, p) in rising {
        let standing = match included(p.tx_hash) {
            Some(block) => Standing::Early(block),
            None => {
                let sender = carried.entry(p.sender).or_insert_with(|| Carried {
                    account: accounts.get(&p.sender).copied().unwrap_or_default(),
                    excused: None,
                });
                stand(p, parent, sender)
            }
        };
        items.push((place, p.clone(), standing));
    }
    items.sort_by_key(|(place, ..)| *place);
    DueSet { parent, items: items.into_iter().map(|(_, p, standing)| (p, standing)).collect() }
}

fn stand(p: &Promised, parent: BlockId, sender: &mut Carried) -> Standing {
    let at = sender.account;
    let evidence = Evidence {
        parent: Some(parent),
        block: None,
        nonce: Some(at.nonce),
        balance: Some(at.balance),
        follows: sender.excused,
        code_hash: at.code_hash,
    };
    let cause = match sender.excused {
        Some(_) => Some(Cause::Predecessor),
        None if at.nonce > p.nonce => Some(Cause::NonceUsed),
        // The journal takes a nonce only right above promised ones and the head's: what is missing
        // below it was promised for an earlier slot, or stood in a head that was reorged since. Its
        // successors are behind as well, since nothing is carried on.
        None if at.nonce < p.nonce => return Standing::Behind(evidence),
        None if at.has_code && !p.sender_had_code => Some(Cause::CodeAppeared),
        None if at.balance < p.cost => Some(Cause::BalanceShort),
        None => None,
    };
    let Some(cause) = cause else {
        sender.account.nonce = p.nonce.saturating_add(1);
        sender.account.balance = at.balance.saturating_sub(p.cost);
        return Standing::Due;
    };
    sender.excused.get_or_insert(p.tx_hash);
    Standing::Excused(cause, evidence)
}

/// The senders whose accounts [`walk`] needs.
pub fn senders(sealed: &[Promised]) -> Vec<Address> {
    let mut seen = HashSet::new();
    sealed.iter().map(|p| p.sender).filter(|s| seen.insert(*s)).collect()
}

/// The due promises in the order of an own block: what must stand at the top first, each sender's
/// nonces rising, otherwise as sealed.
pub fn block_order(due: &DueSet) -> Vec<Promised> {
    ordered(due.due().collect()).into_iter().cloned().collect()
}

/// The same of any promises of a slot.
pub fn ordered(sealed: Vec<&Promised>) -> Vec<&Promised> {
    let mut of_sender: HashMap<Address, Vec<&Promised>> = HashMap::new();
    for p in &sealed {
        of_sender.entry(p.sender).or_default().push(p);
    }
    // Each sender's places stay its own; the highest nonce is taken for the last of them.
    of_sender.values_mut().for_each(|all| all.sort_by_key(|p| Reverse(p.nonce)));
    let leads = leading(sealed.iter().copied());
    let mut out: Vec<&Promised> =
        sealed.iter().filter_map(|p| of_sender.get_mut(&p.sender).and_then(Vec::pop)).collect();
    out.sort_by_key(|p| !leads(p));
    out
}

/// Which promises go before all others: what must stand at the top, and its own sender's lower nonces. A
/// sender without code may have such below the one that carries an authorization, and nothing that they run
/// can touch their sender's account.
pub fn leading<'a>(list: impl Iterator<Item = &'a Promised>) -> impl Fn(&Promised) -> bool {
    let tops: HashMap<Address, u64> = list.filter(|p| p.place == Place::Top).map(|p| (p.sender, p.nonce)).collect();
    move |p| tops.get(&p.sender).is_some_and(|top| p.nonce <= *top)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use tandem_types::{BlsPublicKey, Slot};

    fn block(n: u64) -> BlockId {
        BlockId { number: n, hash: B256::with_last_byte(n as u8) }
    }
    pub(crate) fn promised(seq: u64, sender: u8, nonce: u64, cost: u64) -> Promised {
        Promised {
            root: OnceLock::new(),
            seq,
            key: SlotKey { chain_id: 1, proposer: BlsPublicKey::default(), slot: Slot::new(9) },
            tx: Bytes::new(),
            tx_hash: B256::with_last_byte(seq as u8),
            sender: Address::with_last_byte(sender),
            nonce,
            cost: U256::from(cost),
            sidecar: None,
            place: Place::Anywhere,
            private: false,
            sender_had_code: false,
            gas_limit: 21_000,
            authorities: Vec::new(),
        }
    }
    fn accounts(list: &[(u8, u64, u64)]) -> HashMap<Address, AccountView> {
        let one = |&(a, nonce, balance): &(u8, u64, u64)| {
            (Address::with_last_byte(a), AccountView { nonce, balance: U256::from(balance), ..AccountView::default() })
        };
        list.iter().map(one).collect()
    }
    fn causes(set: &DueSet) -> Vec<Option<Cause>> {
        let one = |s: &Standing| match s {
            Standing::Excused(c, _) => Some(*c),
            _ => None,
        };
        set.items.iter().map(|(_, s)| one(s)).collect()
    }

    #[test]
    fn a_chain_of_one_senders_promises_is_due_as_long_as_nonces_and_balance_carry() {
        let sealed = [promised(1, 1, 5, 40), promised(2, 1, 6, 40), promised(3, 2, 0, 1)];
        let set = walk(&sealed, block(8), &accounts(&[(1, 5, 80), (2, 0, 1)]), |_| None);
        assert_eq!(set.len(), 3);
    }

    #[test]
    fn a_lower_nonce_that_was_sealed_later_goes_before_a_higher_one_in_walk_and_block() {
        let sealed = [promised(1, 1, 6, 40), promised(2, 2, 0, 1), promised(3, 1, 5, 40)];
        let set = walk(&sealed, block(8), &accounts(&[(1, 5, 80), (2, 0, 1)]), |_| None);
        assert_eq!(set.items.iter().map(|(p, _)| p.seq).collect::<Vec<_>>(), [1, 2, 3], "as sealed");
        assert_eq!(set.len(), 3);
        assert_eq!(block_order(&set).iter().map(|p| p.seq).collect::<Vec<_>>(), [3, 2, 1]);
    }

    #[test]
    fn a_voided_nonce_excuses_the_promise_and_its_successors_with_evidence() {
        let sealed = [promised(1, 1, 5, 40), promised(2, 1, 6, 40), promised(3, 2, 0, 1)];
        let set = walk(&sealed, block(8), &accounts(&[(1, 6, 80), (2, 0, 1)]), |_| None);
        assert_eq!(causes(&set), [Some(Cause::NonceUsed), Some(Cause::Predecessor), None]);
        let Some(Standing::Excused(_, e)) = set.standing(2) else { panic!("excused") };
        assert_eq!((e.parent, e.nonce, e.follows), (Some(block(8)), Some(6), Some(B256::with_last_byte(1))));
        assert_eq!(set.due().map(|p| p.seq).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_balance_that_covers_only_the_first_excuses_the_second() {
        let sealed = [promised(1, 1, 5, 40), promised(2, 1, 6, 41)];
        let set = walk(&sealed, block(8), &accounts(&[(1, 5, 80)]), |_| None);
        assert_eq!(causes(&set), [None, Some(Cause::BalanceShort)]);
    }

    #[test]
    fn code_excuses_only_where_there_was_none_when_promised() {
        let mut with = promised(2, 2, 0, 1);
        with.sender_had_code = true;
        let mut view = accounts(&[(1, 0, 9), (2, 0, 9)]);
        view.values_mut().for_each(|a| (a.has_code, a.code_hash) = (true, Some(B256::repeat_byte(0xc0))));
        let set = walk(&[promised(1, 1, 0, 1), with], block(8), &view, |_| None);
        assert_eq!(causes(&set), [Some(Cause::CodeAppeared), None]);
        let Some(Standing::Excused(_, e)) = set.standing(1) else { panic!("excused") };
        assert_eq!(e.code_hash, Some(B256::repeat_byte(0xc0)), "the evidence names the code");
    }

    #[test]
    fn what_an_ancestor_has_is_out_and_its_successor_still_due() {
        let sealed = [promised(1, 1, 5, 40), promised(2, 1, 6, 40)];
        let early = |h: B256| (h == B256::with_last_byte(1)).then(|| block(7));
        let set = walk(&sealed, block(8), &accounts(&[(1, 6, 40)]), early);
        assert_eq!(set.items[0].1, Standing::Early(block(7)));
        assert_eq!(set.items[1].1, Standing::Due);
    }

    #[test]
    fn the_due_set_is_another_on_another_parent() {
        let sealed = [promised(1, 1, 5, 40)];
        let on_late_head = walk(&sealed, block(8), &accounts(&[(1, 6, 40)]), |_| None);
        let on_its_parent = walk(&sealed, block(7), &accounts(&[(1, 5, 40)]), |_| None);
        assert!(on_late_head.is_empty());
        assert_eq!(on_its_parent.len(), 1);
    }

    #[test]
    fn a_missing_nonce_below_keeps_a_promise_and_its_successors_out_and_is_no_excuse_by_itself() {
        let sealed = [promised(1, 1, 5, 40), promised(2, 1, 6, 40)];
        let set = walk(&sealed, block(8), &accounts(&[(1, 4, 80)]), |_| None);
        assert!(set.is_empty());
        assert_eq!(causes(&set), [None, None]);
        let behind =
            |s: &Standing| matches!(s, Standing::Behind(e) if (e.parent, e.nonce) == (Some(block(8)), Some(4)));
        assert!(set.items.iter().all(|(_, s)| behind(s)), "{:?}", set.items);
    }

    #[test]
    fn the_blocks_order_puts_top_first_and_keeps_nonces() {
        let mut top = promised(3, 3, 0, 1);
        top.place = Place::Top;
        let sealed = [promised(1, 1, 5, 1), promised(2, 1, 6, 1), top];
        let set = walk(&sealed, block(8), &accounts(&[(1, 5, 9), (3, 0, 9)]), |_| None);
        assert_eq!(block_order(&set).iter().map(|p| p.seq).collect::<Vec<_>>(), [3, 1, 2]);
    }

    #[test]
    fn what_goes_to_the_top_does_not_overtake_its_own_senders_lower_nonces() {
        let mut authorizes = promised(3, 1, 6, 1);
        authorizes.place = Place::Top;
        let sealed = [promised(1, 2, 0, 1), promised(2, 1, 5, 1), authorizes, promised(4, 1, 7, 1)];
        let set = walk(&sealed, block(8), &accounts(&[(1, 5, 9), (2, 0, 9)]), |_| None);
        assert_eq!(block_order(&set).iter().map(|p| p.seq).collect::<Vec<_>>(), [2, 3, 1, 4]);
    }
}
