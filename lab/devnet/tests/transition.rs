//! The devnet's transition, on states alone: the shuffle against a real Prysm's look-ahead, and what
//! deposits, withdrawal requests, consolidations and exits do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy_primitives::{Address, B256};
use std::io::Read;
use tandem_beacon::{
    BeaconState, ExecutionPayloadHeader, ExecutionRequests,
    requests::{ConsolidationRequest, DepositRequest, WithdrawalRequest},
    state::FAR_FUTURE_EPOCH,
};
use tandem_devnet::consensus::{
    Churn, Finality, FinalityConfig, Rules, Validators, genesis,
    registry::{balance, by_pubkey, proposers_of, validator, withdrawal_address},
    requests, transition, withdrawals,
};
use tandem_types::{Epoch, Gwei, Slot, SlotClock, ValidatorIndex};

fn rules() -> Rules {
    Rules {
        clock: SlotClock::real(0, 12),
        finality: Finality::new(FinalityConfig { lag_slots: 32, step_slots: 32 }),
        shard_committee_period: 0,
        churn: Churn::default(),
        max_blobs: 9,
    }
}

const ADDRESS: Address = Address::repeat_byte(0xaa);

/// 64 validators, of which every fourth compounds, with 33 ETH each.
fn start() -> (BeaconState, Validators) {
    let v = Validators::new(1, 64, &[ADDRESS], 4).unwrap();
    let payload = ExecutionPayloadHeader { block_hash: B256::repeat_byte(1), ..Default::default() };
    (genesis::genesis(0, &v, 33_000_000_000, payload).unwrap().0, v)
}

fn advance(state: &mut BeaconState, slot: u64) {
    transition::advance(state, Slot::new(slot), &rules()).unwrap();
}

fn process(state: &mut BeaconState, r: ExecutionRequests) {
    requests::process(state, &rules(), &r).unwrap();
    state.apply().unwrap();
}

fn prysm_state() -> BeaconState {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/devnet-fulu/state-94.ssz.gz");
    let mut ssz = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).expect(path)).read_to_end(&mut ssz).unwrap();
    BeaconState::from_ssz(&ssz).unwrap()
}

#[test]
fn proposers_are_those_of_a_real_prysms_look_ahead() {
    let mut state = prysm_state();
    assert_eq!(state.slot.epoch(), Epoch::new(2));
    let ahead: Vec<ValidatorIndex> = state.proposer_lookahead.iter().copied().collect();
    assert_eq!(proposers_of(&state, Epoch::new(2)).unwrap(), ahead[..32]);
    assert_eq!(proposers_of(&state, Epoch::new(3)).unwrap(), ahead[32..]);
    // The control: with another mix others propose.
    *state.randao_mixes.get_mut(1).unwrap() = B256::repeat_byte(9);
    assert_ne!(proposers_of(&state, Epoch::new(3)).unwrap(), ahead[32..]);
}

#[test]
fn empty_slots_change_a_real_state_as_prysm_changed_it() {
    // Slots 94 and 95 are of epoch 2. A slot without a block only moves the rings, so that our state
    // at 95 differs from Prysm's at 94 in the slot, the header's state root, one root each, and the
    // checkpoints, which are the devnet's own.
    let real = prysm_state();
    let mut root_of = real.clone();
    let root = root_of.canonical_root().unwrap();
    let mut ours = real.clone();
    transition::advance(&mut ours, Slot::new(95), &rules()).unwrap();
    assert_eq!(ours.latest_block_header.state_root, root);
    assert_eq!(*ours.state_roots.get(94).unwrap(), root);
    let mut changed: Vec<usize> = Vec::new();
    for (i, (a, b)) in root_of.field_roots().unwrap().into_iter().zip(ours.field_roots().unwrap()).enumerate() {
        if a != b {
            changed.push(i);
        }
    }
    let names: Vec<&str> = changed.iter().map(|i| tandem_beacon::state::FIELDS[*i]).collect();
    let expected = ["slot", "latest_block_header", "block_roots", "state_roots"];
    assert!(expected.iter().all(|n| names.contains(n)), "{names:?}");
    assert!(names.iter().all(|n| expected.contains(n) || n.contains("checkpoint")), "{names:?}");
}

#[test]
fn a_deposit_becomes_an_active_validator_and_a_forged_one_does_not() {
    let (mut state, _) = start();
    let more = Validators::new(2, 2, &[ADDRESS], 0).unwrap();
    let gwei = Gwei::new(32_000_000_000);
    let request = |i: u64| {
        let d = more.get(i.into()).unwrap().deposit(gwei).unwrap();
        DepositRequest {
            pubkey: d.pubkey,
            withdrawal_credentials: d.withdrawal_credentials,
            amount: d.amount,
            signature: d.signature,
            index: i,
        }
    };
    let mut forged = request(1);
    forged.signature = request(0).signature;
    advance(&mut state, 1);
    let deposits = vec![request(0), forged.clone()].try_into().unwrap();
    process(&mut state, ExecutionRequests { deposits, ..Default::default() });
    assert_eq!(state.deposit_requests_start_index, 0);
    // It waits until the block with it is finalised, then for its activation.
    advance(&mut state, 63);
    assert!(by_pubkey(&state, &request(0).pubkey).is_none());
    advance(&mut state, 32 * 4);
    let index = by_pubkey(&state, &request(0).pubkey).expect("it is in the registry");
    assert_eq!((index.get(), balance(&state, index)), (64, 32_000_000_000));
    assert!(by_pubkey(&state, &forged.pubkey).is_none());
    advance(&mut state, 32 * 20);
    assert!(validator(&state, index).unwrap().activation_epoch < FAR_FUTURE_EPOCH);
}

#[test]
fn the_sweep_takes_what_is_above_32_eth_from_those_that_do_not_compound() {
    let (mut state, _) = start();
    advance(&mut state, 1);
    let (list, partials) = withdrawals::expected(&state).unwrap();
    assert_eq!((list.len(), partials), (16, 0));
    assert!(list.iter().all(|w| w.amount.get() == 1_000_000_000 && w.validator_index.get() % 4 != 3));
    withdrawals::apply(&mut state, &list, partials).unwrap();
    state.apply().unwrap();
    let (next, _) = withdrawals::expected(&state).unwrap();
    assert_eq!(next[0].index, 16);
    assert!(next[0].validator_index > list[15].validator_index);
    assert_eq!(balance(&state, list[0].validator_index), 32_000_000_000);
}

#[test]
fn the_withdrawal_address_makes_a_validator_leave_and_a_stranger_does_not() {
    let (mut state, v) = start();
    advance(&mut state, 1);
    let key = |i: u64| v.get(i.into()).unwrap().public_key();
    let ask = |source_address, i, gwei| WithdrawalRequest {
        source_address,
        validator_pubkey: key(i),
        amount: Gwei::new(gwei),
    };
    assert_eq!(withdrawal_address(validator(&state, 0.into()).unwrap()), ADDRESS);
    let list = vec![ask(ADDRESS, 0, 0), ask(Address::ZERO, 1, 0), ask(ADDRESS, 3, 400_000_000), ask(ADDRESS, 2, 1)];
    process(&mut state, ExecutionRequests { withdrawals: list.try_into().unwrap(), ..Default::default() });
    let exit = |i: u64| validator(&state, i.into()).unwrap().exit_epoch;
    assert!(exit(0) < FAR_FUTURE_EPOCH);
    assert_eq!((exit(1), exit(2), exit(3)), (FAR_FUTURE_EPOCH, FAR_FUTURE_EPOCH, FAR_FUTURE_EPOCH));
    // Only who compounds can withdraw a part.
    assert_eq!(state.pending_partial_withdrawals.len(), 1);
    let partial = state.pending_partial_withdrawals.get(0).unwrap().clone();
    assert_eq!((partial.validator_index.get(), partial.amount.get()), (3, 400_000_000));
    advance(&mut state, partial.withdrawable_epoch.start().get());
    let (list, partials) = withdrawals::expected(&state).unwrap();
    assert_eq!((partials, list[0].validator_index.get(), list[0].amount.get()), (1, 3, 400_000_000));
}

#[test]
fn a_validator_switches_to_compounding_and_another_consolidates_into_it_to_the_moved_balance() {
    let (mut state, v) = start();
    advance(&mut state, 1);
    let key = |i: u64| v.get(i.into()).unwrap().public_key();
    let ask = |s, t| {
        let c = ConsolidationRequest { source_address: ADDRESS, source_pubkey: key(s), target_pubkey: key(t) };
        ExecutionRequests { consolidations: vec![c].try_into().unwrap(), ..Default::default() }
    };
    process(&mut state, ask(0, 0));
    assert_eq!(validator(&state, 0.into()).unwrap().withdrawal_credentials[0], 2);
    assert_eq!((balance(&state, 0.into()), state.pending_deposits.len()), (32_000_000_000, 1));
    // On mainnet's terms a chain of 64 validators has no churn for it: the request is passed over.
    let mainnet = Rules { churn: Churn::MAINNET, ..rules() };
    let mut other = state.clone();
    requests::process(&mut other, &mainnet, &ask(1, 0)).unwrap();
    assert_eq!(validator(&other, 1.into()).unwrap().exit_epoch, FAR_FUTURE_EPOCH);
    assert_eq!(other.pending_consolidations.len(), 0);
    // Nor may a stranger ask, nor may anybody merge into one that does not compound.
    let stranger = ConsolidationRequest { source_address: Address::ZERO, source_pubkey: key(1), target_pubkey: key(0) };
    process(&mut state, ExecutionRequests { consolidations: vec![stranger].try_into().unwrap(), ..Default::default() });
    process(&mut state, ask(1, 2));
    assert_eq!(state.pending_consolidations.len(), 0);

    process(&mut state, ask(1, 0));
    let source = validator(&state, 1.into()).unwrap().clone();
    assert!(source.exit_epoch < FAR_FUTURE_EPOCH);
    assert_eq!(source.withdrawable_epoch, Epoch::new(source.exit_epoch.get() + 256));
    assert_eq!(state.pending_consolidations.len(), 1);
    // 128 ETH an epoch: four move in one epoch, the fifth waits for the next.
    let mut fifth = state.clone();
    for s in [4, 5, 6, 8] {
        process(&mut fifth, ask(s, 0));
    }
    let exit = |s: &BeaconState, i: u64| validator(s, i.into()).unwrap().exit_epoch;
    assert_eq!(exit(&fifth, 6), source.exit_epoch);
    assert_eq!(exit(&fifth, 8), Epoch::new(source.exit_epoch.get() + 1));

    advance(&mut state, source.withdrawable_epoch.start().get() - 1);
    assert_eq!((balance(&state, 1.into()), state.pending_consolidations.len()), (33_000_000_000, 1));
    // No block came in between, so that nothing was swept, and what was above 32 ETH when 0 switched is
    // back as a deposit. What moves is the effective balance.
    let had = balance(&state, 0.into());
    advance(&mut state, source.withdrawable_epoch.start().get());
    assert_eq!(balance(&state, 1.into()), 1_000_000_000);
    assert_eq!(balance(&state, 0.into()), had + 32_000_000_000);
    assert_eq!(state.pending_consolidations.len(), 0);
    assert_eq!(validator(&state, 0.into()).unwrap().effective_balance.get(), 65_000_000_000);
}

#[test]
fn two_devnets_of_one_seed_have_one_genesis_and_another_seed_another() {
    let root = |seed| {
        let v = Validators::new(seed, 8, &[ADDRESS], 4).unwrap();
        genesis::genesis(5, &v, 32_000_000_000, Default::default()).unwrap().0.canonical_root().unwrap()
    };
    assert_eq!(root(1), root(1));
    assert_ne!(root(1), root(2));
}
