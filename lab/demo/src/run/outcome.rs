//! What came of a run, as plain data: what clients hold, what the chain shows, and what the hosts and the
//! relays say. [`table`](super::table) judges it.

use super::{
    load::{Doubles, Load},
    relays::Relays,
};
use crate::{
    ask::number,
    decisions, http,
    process::Host,
    rig::{Rig, hex_number},
};
use alloy_primitives::{B256, U256};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};
use tandem_devnet::proposer::Chosen;

/// How long any answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long hosts may take to book the fates of the last slot.
const BOOKED: Duration = Duration::from_secs(15);

/// Everything that the table needs.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Every promise that a user holds.
    pub promises: Vec<Promised>,
    /// The canonical blocks from the first promised slot on.
    pub blocks: BTreeMap<u64, Block>,
    /// Times from request to promise, sorted.
    pub latencies: Vec<Duration>,
    /// Answers that can not all be true.
    pub contradictions: Vec<String>,
    /// Second transactions for a promised nonce.
    pub doubles: Doubles,
    /// What the kill showed.
    pub killed: Killed,
    /// The relays, in the order in which they are configured.
    pub relays: [RelayDeeds; 3],
    /// What each host says.
    pub hosts: Vec<HostSays>,
    /// Whether a promise of this run held when it was checked from its bytes, and what was printed.
    pub verified: Result<String, String>,
}

/// A promise, and where the chain has its transaction.
#[derive(Clone, Debug)]
pub struct Promised {
    /// The slot that it is for.
    pub slot: u64,
    /// The host that gave it.
    pub host: usize,
    /// Where the transaction is.
    pub included: Option<Included>,
}

/// A transaction in a canonical block.
#[derive(Clone, Copy, Debug)]
pub struct Included {
    /// The block's slot.
    pub slot: u64,
    /// Effective tip times gas used, in wei.
    pub tip: U256,
}

/// A canonical block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The host whose validator proposed it.
    pub proposer: usize,
    /// Whose block was signed, by what the proposer's beacon node and the relays know.
    pub made_by: Maker,
}

/// Who made a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// The host.
    Host,
    /// The relay with this index.
    Relay(usize),
    /// The beacon node, past the host.
    Beacon,
}

/// What the kill showed.
#[derive(Clone, Debug)]
pub struct Killed {
    /// The host.
    pub name: String,
    /// The slot in which it was killed.
    pub slot: u64,
    /// Promises that it had given.
    pub held: usize,
    /// Of those, how many came again byte for byte.
    pub same: usize,
    /// From the kill until it was ready.
    pub back: Duration,
}

/// What a relay did.
#[derive(Clone, Debug, Default)]
pub struct RelayDeeds {
    /// Slots in which it bid.
    pub bid: BTreeSet<u64>,
    /// Slots in which its block was signed.
    pub taken: BTreeSet<u64>,
    /// Constraints messages that it took.
    pub constraints: u64,
}

/// What a host says of itself.
#[derive(Clone, Debug)]
pub struct HostSays {
    /// Its name.
    pub name: String,
    /// Why it promises nothing now; absent where it promises.
    pub quiet: Option<String>,
    /// Its promises by fate.
    pub fates: Fates,
    /// Tips that it booked, in wei.
    pub received: U256,
    /// Prices that it asked, in wei.
    pub charged: U256,
    /// Of its slots, the relay whose bid was the best that was refused.
    pub refused: BTreeMap<u64, String>,
    /// Of its slots, where the block came from: `own`, `relay-1`.
    pub origins: BTreeMap<u64, String>,
}

/// Promises by fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fates {
    /// All that were charged for.
    pub promises: u64,
    /// In their slot.
    pub kept: u64,
    /// Before it.
    pub early: u64,
    /// Excused by the chain.
    pub excused: u64,
    /// Neither.
    pub broken: u64,
}

impl Fates {
    fn are_known(&self) -> bool {
        self.kept + self.early + self.excused + self.broken >= self.promises
    }
}

impl Outcome {
    /// Whether the kill can have cost a promise its slot's block: the killed host's own, in the slot in which
    /// it was killed, whose block it may not have published yet. Nothing else of the demo takes a block away:
    /// while a host is down, its validators' beacon node builds by itself, and no relay keeps a block back.
    pub fn lost_by_kill(&self, p: &Promised) -> bool {
        p.slot == self.killed.slot && self.hosts.get(p.host).is_some_and(|h| h.name == self.killed.name)
    }

    /// Looks everything up, once the last promised slot is over.
    ///
    /// # Errors
    /// If the chain or a host does not answer.
    pub async fn gather(
        rig: &Rig,
        hosts: &[Host],
        load: &Load,
        relays: &Relays,
        killed: Killed,
        verified: Result<String, String>,
    ) -> Result<Self> {
        let from = load.held().iter().map(|h| h.asked.slot).min().unwrap_or(0);
        // An epoch more: a transaction that came early lies before the first promised slot.
        let (places, mut slots) = chain(rig, from.saturating_sub(32)).await?;
        slots.retain(|s| *s >= from);
        let relays = relays.deeds();
        let promises = load.held().iter().enumerate().map(|(i, h)| Promised {
            slot: h.asked.slot,
            host: load.host_of(i),
            included: places.get(&h.asked.tx_hash).copied(),
        });
        let mut said = Vec::new();
        for h in hosts {
            said.push(ask_host(h).await?);
        }
        Ok(Self {
            promises: promises.collect(),
            blocks: blocks(rig, &slots, &relays, hosts.len()).await?,
            latencies: load.latencies(),
            contradictions: load.oracle().faults().to_vec(),
            doubles: load.doubles(),
            killed,
            relays,
            hosts: said,
            verified,
        })
    }
}

/// Walks the canonical chain back to a slot: where each transaction is, and which slots have a block.
async fn chain(rig: &Rig, from: u64) -> Result<(HashMap<B256, Included>, BTreeSet<u64>)> {
    let call = |method, params| http::rpc(rig.execution(), method, params, PATIENCE);
    let (mut places, mut slots) = (HashMap::new(), BTreeSet::new());
    let mut number = hex_number(&call("eth_blockNumber", json!([])).await?).context("eth_blockNumber")?;
    while number > 0 {
        let name = format!("0x{number:x}");
        let block = call("eth_getBlockByNumber", json!([name, false])).await?;
        let time = hex_number(&block["timestamp"]).with_context(|| format!("a block without a timestamp: {block}"))?;
        let slot = rig.clock().slot_of_timestamp(time).context("a timestamp between two slots")?.get();
        if slot < from {
            break;
        }
        slots.insert(slot);
        let base_fee = wei(&block["baseFeePerGas"])?;
        let receipts = call("eth_getBlockReceipts", json!([name])).await?;
        for r in receipts.as_array().context("eth_getBlockReceipts answered no list")? {
            let hash: B256 = serde_json::from_value(r["transactionHash"].clone())?;
            let tip = wei(&r["effectiveGasPrice"])?.saturating_sub(base_fee);
            places.insert(hash, Included { slot, tip: tip * wei(&r["gasUsed"])? });
        }
        number -= 1;
    }
    Ok((places, slots))
}

/// Who proposed and who made the blocks of these slots. Validators belong to hosts in equal parts.
async fn blocks(
    rig: &Rig,
    slots: &BTreeSet<u64>,
    relays: &[RelayDeeds; 3],
    hosts: usize,
) -> Result<BTreeMap<u64, Block>> {
    let each = rig.validators() / (hosts as u64).max(1);
    let mut found = BTreeMap::new();
    for d in decisions::all(rig).await? {
        let slot = d.slot.get();
        if !slots.contains(&slot) {
            continue;
        }
        let relay = relays.iter().position(|r| r.taken.contains(&slot)).map(Maker::Relay);
        let made_by = match d.chosen {
            Chosen::Builder => relay.unwrap_or(Maker::Host),
            Chosen::Local | Chosen::Nothing => Maker::Beacon,
        };
        found.insert(slot, Block { proposer: usize::try_from(d.validator / each.max(1))?, made_by });
    }
    Ok(found)
}

/// What a host says, once it knows the fate of all that it promised.
async fn ask_host(host: &Host) -> Result<HostSays> {
    let begin = Instant::now();
    loop {
        let status = get(host, "status").await?;
        let total = |name: &str| number(&status["totals"][name]).unwrap_or(0);
        let fates = Fates {
            promises: total("promises"),
            kept: total("kept"),
            early: total("early"),
            excused: total("excused"),
            broken: total("broken"),
        };
        // A fate that does not come is for the table to say.
        if !fates.are_known() && begin.elapsed() < BOOKED {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        let wei = |name: &str| U256::from_str_radix(status["totals"][name].as_str().unwrap_or("0"), 10);
        let promising = &status["promising"];
        let quiet = (promising["ok"] != true).then(|| promising["reasons"].to_string());
        let mut says = HostSays {
            name: host.name.clone(),
            quiet,
            fates,
            received: wei("received")?,
            charged: wei("charged")?,
            refused: BTreeMap::new(),
            origins: BTreeMap::new(),
        };
        for b in get(host, "blocks?limit=200").await?.as_array().into_iter().flatten() {
            let Some(slot) = number(&b["slot"]).filter(|_| b["canonical"] == true) else { continue };
            if let Some(relay) = b["best_refused_from"].as_str() {
                says.refused.insert(slot, relay.to_owned());
            }
            let origin = match b["origin"]["from"].as_str() {
                Some("relay") => b["origin"]["name"].as_str(),
                Some("own") => Some("own"),
                _ => None,
            };
            says.origins.extend(origin.map(|o| (slot, o.to_owned())));
        }
        return Ok(says);
    }
}

async fn get(h: &Host, what: &str) -> Result<Value> {
    http::get(&format!("{}/api/v1/{what}", h.gateway), PATIENCE).await?.json()
}

/// A JSON-RPC quantity of any size.
fn wei(v: &Value) -> Result<U256> {
    let digits = v.as_str().and_then(|s| s.strip_prefix("0x")).with_context(|| format!("no quantity: {v}"))?;
    Ok(U256::from_str_radix(digits, 16)?)
}
