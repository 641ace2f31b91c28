//! Users of the demo: most are honest, some ask twice for one nonce.

use crate::{
    ask,
    kill::oracle::{Answer, Asked, Held, Oracle},
    process::Host,
    rig::Rig,
    wallet::{Fees, Wallet},
};
use anyhow::Result;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How long a user waits.
const PATIENCE: Duration = Duration::from_secs(2);
/// Requests in a round.
const ROUND: usize = 4;

/// All users, and what they were answered.
pub struct Load {
    oracle: Oracle,
    host_of: BTreeMap<usize, usize>,
    latencies: Vec<Duration>,
    refused_doubles: u64,
    next: u32,
    chain_id: u64,
}

impl Load {
    /// Nobody has asked yet.
    ///
    /// # Errors
    /// Never in practice.
    pub fn new(rig: &Rig) -> Result<Self> {
        Ok(Self {
            oracle: Oracle::default(),
            host_of: BTreeMap::new(),
            latencies: Vec::new(),
            refused_doubles: 0,
            next: 0,
            chain_id: rig.chain_id(),
        })
    }

    /// Some users ask each host for its next slots.
    ///
    /// # Errors
    /// If signing fails.
    pub async fn round(&mut self, rig: &Rig, hosts: &[Host]) -> Result<()> {
        for (i, host) in hosts.iter().enumerate() {
            let near = rig.slot_now() + 6;
            let slots = ask::served(&host.gateway).await.unwrap_or_default();
            let slots: Vec<u64> = slots.iter().map(|s| s.slot).filter(|s| *s <= near).collect();
            for n in 0..ROUND {
                let Some(slot) = slots.get(n % slots.len().max(1)) else { continue };
                self.one(i, host, *slot).await?;
            }
        }
        Ok(())
    }

    async fn one(&mut self, i: usize, host: &Host, slot: u64) -> Result<()> {
        let index = self.next;
        self.next += 1;
        let wallet = Wallet::nth(index, self.chain_id)?;
        let (asked, _) = ask::ask(&wallet, index, 0, slot, 1, Fees::default())?;
        let begin = Instant::now();
        let answer = ask::send(&host.gateway, &asked.request, PATIENCE).await;
        if matches!(answer, Answer::Promise(_)) {
            self.latencies.push(begin.elapsed());
            self.host_of.insert(self.oracle.held().len(), i);
        }
        let won = matches!(answer, Answer::Promise(_));
        self.oracle.take(asked, answer);
        // Every tenth user tries to have two transactions promised for one nonce.
        if won && index.is_multiple_of(10) {
            let (double, _) = ask::ask(&wallet, index, 0, slot, 2, Fees::default())?;
            let answer = ask::send(&host.gateway, &double.request, PATIENCE).await;
            self.refused_doubles += u64::from(matches!(answer, Answer::Refused(_)));
            self.oracle.take(double, answer);
        }
        Ok(())
    }

    /// The host that holds most promises.
    pub fn fullest_host(&self, hosts: usize) -> usize {
        let count = |i: usize| self.host_of.values().filter(|h| **h == i).count();
        (0..hosts).max_by_key(|i| count(*i)).unwrap_or(0)
    }

    /// Asks a host again for everything that it promised: how much that was, and how much came back the
    /// same, byte for byte (or was told as expired, with its fate).
    pub async fn repeat(&mut self, host: usize, gateway: &str) -> (usize, usize) {
        let mine: Vec<Asked> = self
            .host_of
            .iter()
            .filter(|(_, h)| **h == host)
            .filter_map(|(i, _)| self.oracle.held().get(*i).map(|h| h.asked.clone()))
            .collect();
        let before = self.oracle.faults().len();
        let mut answered = 0;
        for asked in &mine {
            let answer = ask::send(gateway, &asked.request, PATIENCE).await;
            answered += usize::from(answer != Answer::Nothing);
            self.oracle.take(asked.clone(), answer);
        }
        let wrong = self.oracle.faults().len() - before;
        (mine.len(), answered.saturating_sub(wrong))
    }

    /// What users hold.
    pub fn held(&self) -> &[Held] {
        self.oracle.held()
    }
    /// What was answered in all.
    pub fn oracle(&self) -> &Oracle {
        &self.oracle
    }
    /// Which host gave promise `i`.
    pub fn host_of(&self, i: usize) -> usize {
        self.host_of.get(&i).copied().unwrap_or(0)
    }
    /// Second transactions for a promised nonce that were refused.
    pub fn refused_doubles(&self) -> u64 {
        self.refused_doubles
    }
    /// Times from request to promise, sorted.
    pub fn latencies(&self) -> Vec<Duration> {
        let mut all = self.latencies.clone();
        all.sort_unstable();
        all
    }
}
