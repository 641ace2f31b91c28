//! The execution requests of a simulated block, of which the answer has the hash only.
//!
//! Deposits are read from the logs (EIP-6110). The queues of EIP-7002 and EIP-7251 are asked for in a
//! second simulation: the same block with the two system calls behind its transactions, whose return
//! data is the requests. What was found counts only if it hashes to what the first answer says.

use super::{
    Job,
    simulate::{ask, request},
};
use crate::error::BuildError;
use alloy_consensus::Header;
use alloy_eips::{eip7002, eip7251};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, address, b256};
use alloy_rpc_types_eth::{TransactionRequest, simulate::SimCallResult};
use serde_json::json;
use std::time::Instant;
use tandem_beacon::ExecutionRequests;
use tandem_state::Rpc;

/// Who calls the system contracts at a block's end.
const SYSTEM: Address = address!("fffffffffffffffffffffffffffffffffffffffe");
/// Gas of one such call in the second simulation: sixteen requests are taken out for far less.
const SYSTEM_GAS: u64 = 2_000_000;
/// Gas of the client's cap that a simulated block leaves for both calls: a block whose requests can not be
/// asked for is not offered.
pub(super) const RESERVE: u64 = 2 * SYSTEM_GAS;
/// `DepositEvent(bytes,bytes,bytes,bytes,bytes)`.
const DEPOSIT_EVENT: B256 = b256!("649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5");
/// The event's data: five offsets, then each field with its length, padded to whole words.
const DEPOSIT_BYTES: usize = 576;
/// Where in it key, credentials, amount, signature and index are.
const DEPOSIT_FIELDS: [(usize, usize); 5] = [(192, 48), (288, 32), (352, 8), (416, 96), (544, 8)];
/// Contracts that are tried as the deposit contract: anybody can log an event of that form.
const MAX_CONTRACTS: usize = 4;

/// The requests behind a simulated header. `gas_left` is what may still be simulated without clamping.
///
/// # Errors
/// [`BuildError::NotSimulable`] where they can not be found, so that nothing is offered.
pub(super) async fn find(
    rpc: &dyn Rpc,
    job: &Job,
    header: &Header,
    calls: &[TransactionRequest],
    results: &[SimCallResult],
    gas_left: u64,
    by: Instant,
) -> Result<ExecutionRequests, BuildError> {
    let fits = |r: &ExecutionRequests| header.requests_hash == Some(r.requests_hash());
    let none = ExecutionRequests::default();
    if fits(&none) {
        return Ok(none);
    }
    let unknown = || BuildError::NotSimulable("the block has execution requests that the simulation does not give");
    let deposits = deposits(results);
    if let Some(found) = deposits.iter().filter_map(|d| entries(d, &[], &[])).find(&fits) {
        return Ok(found);
    }
    if gas_left < RESERVE {
        return Err(BuildError::NotSimulable("execution requests need more gas than the client simulates"));
    }
    let (withdrawals, consolidations) = match system_calls(rpc, job, calls, by).await {
        Ok(found) => found,
        Err(BuildError::Deadline) => return Err(BuildError::Deadline),
        Err(error) => {
            // No word of the client's against a transaction: the block itself was simulated.
            tracing::warn!(%error, "the queues of execution requests were not simulated");
            return Err(unknown());
        }
    };
    let with = |d: &Bytes| entries(d, &withdrawals, &consolidations);
    std::iter::once(&Bytes::new()).chain(&deposits).filter_map(with).find(fits).ok_or_else(unknown)
}

/// EIP-7685's entries as requests; `None` where they are none.
fn entries(deposits: &[u8], withdrawals: &[u8], consolidations: &[u8]) -> Option<ExecutionRequests> {
    let lists = [deposits, withdrawals, consolidations];
    let entry = |(kind, list): (u8, &[u8])| [&[kind], list].concat();
    let all: Vec<Vec<u8>> = (0u8..).zip(lists).filter(|(_, l)| !l.is_empty()).map(entry).collect();
    ExecutionRequests::from_eip7685(&all).ok()
}

/// The deposits that the logs tell, for each contract that logged some.
fn deposits(results: &[SimCallResult]) -> Vec<Bytes> {
    let mut by_contract: Vec<(Address, Vec<u8>)> = Vec::new();
    for log in results.iter().filter(|r| r.status).flat_map(|r| &r.logs) {
        let (contract, data) = (log.inner.address, &log.inner.data.data);
        if log.inner.data.topics() != [DEPOSIT_EVENT] || data.len() != DEPOSIT_BYTES {
            continue;
        }
        if !by_contract.iter().any(|(a, _)| *a == contract) && by_contract.len() < MAX_CONTRACTS {
            by_contract.push((contract, Vec::new()));
        }
        let Some((_, list)) = by_contract.iter_mut().find(|(a, _)| *a == contract) else { continue };
        for (from, len) in DEPOSIT_FIELDS {
            list.extend_from_slice(data.get(from..from + len).unwrap_or_default());
        }
    }
    by_contract.into_iter().map(|(_, list)| list.into()).collect()
}

/// What the two system contracts give out at the block's end.
async fn system_calls(
    rpc: &dyn Rpc,
    job: &Job,
    calls: &[TransactionRequest],
    by: Instant,
) -> Result<(Bytes, Bytes), BuildError> {
    let fee = u128::from(job.base_fee());
    let system = |to: Address| TransactionRequest {
        from: Some(SYSTEM),
        to: Some(TxKind::Call(to)),
        gas: Some(SYSTEM_GAS),
        max_fee_per_gas: Some(fee),
        max_priority_fee_per_gas: Some(0),
        ..Default::default()
    };
    let queues = [
        system(eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS),
        system(eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS),
    ];
    let calls: Vec<_> = calls.iter().cloned().chain(queues).collect();
    let rich = json!({ SYSTEM.to_string(): { "balance": U256::from(u128::MAX) } });
    let mut results = ask(rpc, request(job, &calls, rich), by).await?.calls;
    match (results.pop(), results.pop()) {
        (Some(consolidations), Some(withdrawals)) if consolidations.status && withdrawals.status => {
            Ok((withdrawals.return_data, consolidations.return_data))
        }
        _ => Err(BuildError::NotSimulable("a system contract does not answer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{Log, LogData};

    /// A deposit's event as the deposit contract encodes it.
    fn event(contract: Address, fill: u8) -> alloy_rpc_types_eth::Log {
        let word = |n: u64| B256::from(U256::from(n)).to_vec();
        let mut data: Vec<u8> = [160, 256, 320, 384, 512].into_iter().flat_map(word).collect();
        for (_, len) in DEPOSIT_FIELDS {
            data.extend(word(len as u64));
            data.extend(vec![fill; len]);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        let data = LogData::new_unchecked(vec![DEPOSIT_EVENT], data.into());
        alloy_rpc_types_eth::Log { inner: Log { address: contract, data }, ..Default::default() }
    }
    fn result(logs: Vec<alloy_rpc_types_eth::Log>) -> SimCallResult {
        let mut r: SimCallResult =
            serde_json::from_value(json!({ "returnData": "0x", "logs": [], "gasUsed": "0x5208", "status": "0x1" }))
                .unwrap();
        r.logs = logs;
        r
    }

    #[test]
    fn deposits_are_read_from_the_events_of_one_contract_each() {
        assert_eq!(DEPOSIT_EVENT, alloy_primitives::keccak256("DepositEvent(bytes,bytes,bytes,bytes,bytes)"));
        let (real, other) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let found = deposits(&[result(vec![event(real, 7), event(other, 9)]), result(vec![event(real, 8)])]);
        assert_eq!(found.len(), 2);
        let read = entries(&found[0], &[], &[]).unwrap();
        assert_eq!(read.deposits.len(), 2);
        assert_eq!(read.deposits[0].index, u64::from_le_bytes([7; 8]));
        assert_eq!(read.deposits[1].withdrawal_credentials, B256::repeat_byte(8));
        let mut failed = result(vec![event(real, 7)]);
        failed.status = false;
        assert!(deposits(&[failed]).is_empty());
    }
}
