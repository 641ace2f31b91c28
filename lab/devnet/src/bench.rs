//! The two figures of the execution layer, as functions that give the value and its peer's.

use crate::execution::{
    DEV_ACCOUNTS, ExecError, Execution, Fill, GenesisConfig, Limits, PayloadAttributes, PoolConfig, dev_account,
};
use alloy_consensus::transaction::{Recovered, SignerRecoverable};
use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_evm::{Evm, eth::EthEvmBuilder};
use alloy_genesis::GenesisAccount;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use revm::{
    DatabaseRef,
    database::{CacheDB, EmptyDB},
};
use std::time::{Duration, Instant};

/// Transfers in a block.
pub const TRANSFERS: u32 = 500;

/// A figure beside its peer's, both in seconds for one block, as medians.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// Ours.
    pub value: f64,
    /// The peer's.
    pub peer: f64,
    /// How often each was measured, alternately.
    pub samples: usize,
}

impl Figure {
    /// How many times faster than its peer: the peer's time over ours.
    pub fn speed(&self) -> f64 {
        self.peer / self.value
    }

    /// How many times longer than its peer.
    pub fn slowdown(&self) -> f64 {
        self.value / self.peer
    }
}

/// A chain over many accounts, and transfers between them: in each block others, on the block before it.
struct Bench {
    execution: Execution,
    keys: Vec<(secp256k1::SecretKey, Address)>,
    accounts: u32,
    chain_id: u64,
    /// Blocks so far; the next transfers' nonce.
    round: u64,
}

impl Bench {
    /// `accounts` funded accounts beside the [`TRANSFERS`] that send to them.
    fn new(accounts: u32) -> Result<Self, ExecError> {
        let mut config = GenesisConfig { gas_limit: 200_000_000, ..GenesisConfig::default() };
        let rich = GenesisAccount::default().with_balance(U256::from(10u64).pow(U256::from(20)));
        config.alloc.extend((0..accounts).map(|n| (address(n), rich.clone())));
        let keys: Vec<_> = (0..TRANSFERS).map(dev_account).filter_map(signer).collect();
        config.alloc.extend(keys.iter().map(|(_, a)| (*a, rich.clone())));
        let chain_id = config.chain_id;
        let execution = Execution::from_genesis(config.genesis()?, PoolConfig::default(), Limits::default())?;
        Ok(Self { execution, keys, accounts: accounts.max(1), chain_id, round: 0 })
    }

    /// The next block's transfers, to accounts that are spread over all and others than the last time.
    fn transfers(&self) -> Result<Vec<Bytes>, ExecError> {
        let step = (self.accounts / TRANSFERS).max(1);
        let shift = u32::try_from(self.round % u64::from(step)).unwrap_or_default();
        let to = |n: u32| address((n * step + shift) % self.accounts);
        let signed = self.keys.iter().zip(0u32..).map(|((key, _), n)| transfer(key, self.chain_id, self.round, to(n)));
        signed.collect::<Option<_>>().ok_or_else(|| ExecError::Internal("a key does not sign".to_owned()))
    }

    /// The next block with all its roots, from raw transactions until it is the head.
    fn block(&mut self, transfers: &[Bytes]) -> Result<Duration, ExecError> {
        let at = self.attributes(self.round);
        let fill = Fill::Exactly(transfers.to_vec());
        let begun = Instant::now();
        let built = self.execution.build(self.execution.head().hash, &at, &fill, Bytes::new());
        let block = built.map_err(|e| ExecError::Internal(e.to_string()))?.block;
        self.execution.keep(block.clone());
        self.execution.set_head(block.hash, B256::ZERO, B256::ZERO)?;
        let taken = begun.elapsed();
        if block.senders.len() != TRANSFERS as usize {
            return Err(ExecError::Internal("the block lacks transfers".to_owned()));
        }
        self.round += 1;
        Ok(taken)
    }

    /// Decode, recover and execute the same transactions on one thread over hash maps that hold all that
    /// is read: no trie, no root, no system call, no receipt.
    fn without_roots(&self, flat: &mut CacheDB<EmptyDB>, transfers: &[Bytes]) -> Result<Duration, ExecError> {
        let head = self.execution.head();
        let header = alloy_consensus::Header {
            parent_hash: head.hash,
            number: head.number() + 1,
            beneficiary: DEV_ACCOUNTS[0].address,
            timestamp: head.header().timestamp + 12,
            gas_limit: head.header().gas_limit,
            base_fee_per_gas: Some(self.execution.spec().next_base_fee(head.header())),
            excess_blob_gas: Some(0),
            parent_beacon_block_root: Some(B256::ZERO),
            ..alloy_consensus::Header::default()
        };
        let env = self.execution.spec().env(&header);
        let begun = Instant::now();
        let mut evm = EthEvmBuilder::new(flat, env).build();
        for raw in transfers {
            let failed = |what: &str| ExecError::Internal(what.to_owned());
            let tx = TxEnvelope::decode_2718(&mut raw.as_ref()).map_err(|_| failed("decode"))?;
            let from = tx.recover_signer().map_err(|_| failed("recover"))?;
            let done = evm.transact_commit(Recovered::new_unchecked(tx, from));
            if !done.map_err(|e| ExecError::Internal(e.to_string()))?.is_success() {
                return Err(failed("a transfer failed"));
            }
        }
        Ok(begun.elapsed())
    }

    /// All accounts of the head's state that transfers touch, without a trie.
    fn flat(&self) -> Result<CacheDB<EmptyDB>, ExecError> {
        let view = self.execution.view(&self.execution.head())?;
        let mut db = CacheDB::new(EmptyDB::default());
        let touched = self.keys.iter().map(|(_, a)| *a).chain((0..self.accounts).map(address));
        for account in touched.chain([DEV_ACCOUNTS[0].address]) {
            let info = view.basic_ref(account).map_err(|e| ExecError::Internal(e.to_string()))?;
            db.insert_account_info(account, info.unwrap_or_default());
        }
        Ok(db)
    }

    fn attributes(&self, salt: u64) -> PayloadAttributes {
        PayloadAttributes {
            timestamp: self.execution.head().header().timestamp + 12,
            prev_randao: B256::from(U256::from(salt)),
            suggested_fee_recipient: DEV_ACCOUNTS[0].address,
            withdrawals: Some(Vec::new()),
            parent_beacon_block_root: Some(B256::ZERO),
            ..PayloadAttributes::default()
        }
    }
}

fn address(n: u32) -> Address {
    Address::from_slice(&keccak256(n.to_be_bytes())[12..])
}

fn signer(key: B256) -> Option<(secp256k1::SecretKey, Address)> {
    let secret = secp256k1::SecretKey::from_slice(key.as_slice()).ok()?;
    let public = secret.public_key(secp256k1::SECP256K1).serialize_uncompressed();
    Some((secret, Address::from_raw_public_key(public.get(1..)?)))
}

fn transfer(key: &secp256k1::SecretKey, chain_id: u64, nonce: u64, to: Address) -> Option<Bytes> {
    let tx = TxEip1559 {
        chain_id,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 100_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(to),
        value: U256::from(1),
        ..TxEip1559::default()
    };
    let message = secp256k1::Message::from_digest(tx.signature_hash().0);
    let (recovery, compact) = secp256k1::SECP256K1.sign_ecdsa_recoverable(&message, key).serialize_compact();
    let odd = i32::from(recovery) & 1 == 1;
    let signature = alloy_primitives::Signature::from_bytes_and_parity(&compact, odd);
    Some(TxEnvelope::from(tx.into_signed(signature)).encoded_2718().into())
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, Duration::as_secs_f64)
}

/// `devnet.blocks`: a block of 500 transfers with all roots, from raw transactions until it is the head
/// (value), against decode, recover and execute over preloaded hash maps without roots on one thread
/// (peer). The figure is [`Figure::speed`], and its goal ≥ 0.5.
///
/// # Errors
/// [`ExecError`] if a block does not build.
pub fn blocks(samples: usize) -> Result<Figure, ExecError> {
    let mut bench = Bench::new(1_000)?;
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    bench.block(&bench.transfers()?)?;
    let mut flat = bench.flat()?;
    for _ in 0..samples {
        let transfers = bench.transfers()?;
        peers.push(bench.without_roots(&mut flat, &transfers)?);
        ours.push(bench.block(&transfers)?);
    }
    Ok(Figure { value: median(ours), peer: median(peers), samples })
}

/// `devnet.state`: such a block over 10⁶ accounts (value), against one over 10³ (peer). The figure is
/// [`Figure::slowdown`], and its goal ≤ 2.
///
/// # Errors
/// [`ExecError`] if a block does not build.
pub fn state(samples: usize) -> Result<Figure, ExecError> {
    let (mut large, mut small) = (Bench::new(1_000_000)?, Bench::new(1_000)?);
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    large.block(&large.transfers()?)?;
    small.block(&small.transfers()?)?;
    for _ in 0..samples {
        ours.push(large.block(&large.transfers()?)?);
        peers.push(small.block(&small.transfers()?)?);
    }
    Ok(Figure { value: median(ours), peer: median(peers), samples })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_figures_come_from_blocks_that_were_really_built_on_each_other() {
        let figure = blocks(2).unwrap();
        assert!(figure.value > 0.0 && figure.peer > 0.0);
        let mut bench = Bench::new(2_000).unwrap();
        let first = bench.transfers().unwrap();
        bench.block(&first).unwrap();
        assert_eq!(bench.execution.head().number(), 1);
        assert!(bench.block(&first).is_err(), "the same transfers do not execute again");
        let paid = |b: &Bench, n| b.execution.view(&b.execution.head()).unwrap().basic_ref(address(n)).unwrap();
        let before = paid(&bench, 1).unwrap().balance;
        bench.block(&bench.transfers().unwrap()).unwrap();
        assert_eq!(paid(&bench, 1).unwrap().balance, before + U256::from(1), "the second block pays others");
        assert!(bench.without_roots(&mut CacheDB::new(EmptyDB::default()), &first).is_err(), "and the peer executes");
    }
}
