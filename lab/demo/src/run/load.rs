//! Users of the demo: most are honest, some ask twice for one nonce.

use super::{
    outcome::Killed,
    senders::{Senders, next_nonce},
};
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
/// How a second transaction for a promised nonce is refused, by the boost or by the door. Another reason says
/// nothing of doubles.
const DOUBLE: [&str; 2] = ["nonce-taken", "conflict"];
/// Requests in a round.
const ROUND: usize = 4;

/// Second transactions for a nonce that was promised already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doubles {
    /// Refused, as they must be.
    pub refused: u64,
    /// Promised too.
    pub promised: u64,
}

/// All users, and what they were answered.
pub struct Load {
    senders: Senders,
    oracle: Oracle,
    host_of: BTreeMap<usize, usize>,
    latencies: Vec<Duration>,
    doubles: Doubles,
    asked: u64,
}

impl Load {
    /// Nobody has asked yet.
    pub fn new(accounts: u32) -> Self {
        Self {
            senders: Senders::new(accounts),
            oracle: Oracle::default(),
            host_of: BTreeMap::new(),
            latencies: Vec::new(),
            doubles: Doubles::default(),
            asked: 0,
        }
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
                self.one(rig, i, host, *slot).await?;
            }
        }
        Ok(())
    }

    async fn one(&mut self, rig: &Rig, i: usize, host: &Host, slot: u64) -> Result<()> {
        let Some((index, before)) = self.senders.take(rig.slot_now()) else { return Ok(()) };
        // Whatever comes of it, the account rests until the slot is over: an answer can be lost.
        self.senders.sent(index, slot);
        let wallet = Wallet::nth(index, rig.chain_id())?;
        let nonce = if before { next_nonce(rig, &wallet).await } else { Ok(0) };
        // The L1 is busy: this user asks another time.
        let Ok(nonce) = nonce else { return Ok(()) };
        let (asked, _) = ask::ask(&wallet, index, nonce, slot, 1, Fees::default())?;
        let begin = Instant::now();
        let answer = ask::send(&host.gateway, &asked.request, PATIENCE).await;
        let took = begin.elapsed();
        let won = matches!(answer, Answer::Promise(_));
        if won {
            self.latencies.push(took);
            self.host_of.insert(self.oracle.held().len(), i);
        }
        self.oracle.take(asked, answer);
        self.asked += 1;
        // Every tenth user tries to have two transactions promised for one nonce.
        if won && self.asked.is_multiple_of(10) {
            let (double, _) = ask::ask(&wallet, index, nonce, slot, 2, Fees::default())?;
            let double = Asked { contested: true, ..double };
            let answer = ask::send(&host.gateway, &double.request, PATIENCE).await;
            match &answer {
                Answer::Refused(code) if DOUBLE.contains(&code.as_str()) => self.doubles.refused += 1,
                Answer::Refused(_) | Answer::WasPromised => {}
                Answer::Promise(_) => {
                    self.doubles.promised += 1;
                    self.host_of.insert(self.oracle.held().len(), i);
                }
                Answer::Nothing => {}
            }
            self.oracle.take(double, answer);
        }
        Ok(())
    }

    /// The host that holds most promises.
    pub fn fullest_host(&self, hosts: usize) -> usize {
        let count = |i: usize| self.host_of.values().filter(|h| **h == i).count();
        (0..hosts).max_by_key(|i| count(*i)).unwrap_or(0)
    }

    /// Asks a host that was killed in a slot again for everything that it promised. Only the same promise, byte
    /// for byte, counts.
    pub async fn repeat(&mut self, host: usize, of: &Host, slot: u64, back: Duration) -> Killed {
        let held = self.oracle.held().iter().enumerate();
        let mine: Vec<Held> = held.filter(|(i, _)| self.host_of(*i) == host).map(|(_, h)| h.clone()).collect();
        let mut same = 0;
        for h in &mine {
            let answer = ask::send(&of.gateway, &h.asked.request, PATIENCE).await;
            same += usize::from(matches!(&answer, Answer::Promise(bytes) if *bytes == h.answer));
            self.oracle.take(h.asked.clone(), answer);
        }
        Killed { name: of.name.clone(), slot, held: mine.len(), same, back }
    }

    /// Forgets what was answered, so that a demo that is left running does not grow.
    pub fn forget(&mut self) {
        self.oracle = Oracle::default();
        self.host_of.clear();
        self.latencies.clear();
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
    /// Second transactions for a promised nonce.
    pub fn doubles(&self) -> Doubles {
        self.doubles
    }
    /// Times from request to promise, sorted.
    pub fn latencies(&self) -> Vec<Duration> {
        let mut all = self.latencies.clone();
        all.sort_unstable();
        all
    }
}
