//! What was offered, in files before it is served: payloads by block hash, and the blinded blocks that
//! came back. Kept until final.
//!
//! A file is `magic ‖ meta ‖ bid ‖ payload`, each part with its length before it, and a SHA-256 over
//! all of it at the end. It is written beside its name and renamed. An own offer and a blinded block are
//! synced before that, and the folder after it: they are durable when the call returns. A relay's offer
//! and the mark that a header was served are written before the answer leaves, and synced behind it: a
//! kill does not lose them, a loss of power in those milliseconds can. That is the price of two syncs
//! less in a header call; a machine is not up again before the slot is over, and what is lost then only
//! makes the host refuse or ask for less (`core/tests/lost.rs`).
//!
//! A relay may offer a block that was built here as well. Both are kept, under names of their own, and
//! the own offer is the block's: its payload is here.

mod blinded;
mod served;

use crate::{error::BlocksError, own_block::Made};
use alloy_primitives::{B256, U256};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use served::Served;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tandem_beacon::{BuilderBid, MAX_BLOCK_BYTES, SignedBlindedBeaconBlock, UnblindedPayload};
use tandem_types::{BlockId, BlsPublicKey, Slot, ValidatorIndex};

const MAGIC: &[u8; 8] = b"tdoffer1";
/// The ending of an own offer's file, or of any of an older version.
const OWN: &str = "offer";
/// The ending of a relay's.
const RELAYS: &str = "relay";

/// Where an offered block comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Built here.
    Own(Made),
    /// A relay, by name.
    Relay(String),
}

/// What is remembered of an offer beside its bid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferMeta {
    /// For which slot.
    pub slot: Slot,
    /// Whose.
    pub proposer: BlsPublicKey,
    /// The proposer's place in the registry, where known.
    pub proposer_index: ValidatorIndex,
    /// On which execution block.
    pub parent: BlockId,
    /// Where it comes from.
    pub source: Source,
    /// What it truly pays, in wei.
    pub value: U256,
    /// How many of the due promises are in it: fewer than all only in an own block for which the client
    /// would not execute the others.
    pub due: u64,
}

/// One offered block. The bid carries the true value; the served one may be steered.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// What is remembered.
    pub meta: OfferMeta,
    /// Header, commitments, requests and true value.
    pub bid: BuilderBid,
}

impl Offer {
    /// Its execution block hash.
    pub fn block_hash(&self) -> B256 {
        self.bid.header.block_hash
    }
    /// Whether a bid is for the very content of this one.
    pub fn has_content_of(&self, bid: &BuilderBid) -> bool {
        self.bid.header == bid.header
            && self.bid.blob_kzg_commitments == bid.blob_kzg_commitments
            && self.bid.execution_requests == bid.execution_requests
    }
    /// Whether it was built here, so that its payload is kept.
    pub const fn is_own(&self) -> bool {
        matches!(self.meta.source, Source::Own(_))
    }
}

/// The offers by block hash. Own ones go before relays' of the same block.
#[derive(Debug, Default)]
struct Known {
    offers: HashMap<B256, Arc<Offer>>,
    /// Relays that offered a block that was built here, too.
    also: HashMap<B256, String>,
}

impl Known {
    /// Takes an offer in, and answers the one that stands for its block.
    fn take(&mut self, offer: Offer) -> Arc<Offer> {
        let hash = offer.block_hash();
        let before = self.offers.get(&hash).filter(|o| o.is_own() != offer.is_own()).cloned();
        let relays = if offer.is_own() { before.as_deref() } else { Some(&offer) };
        if let (Some(Source::Relay(name)), Some(_)) = (relays.map(|o| &o.meta.source), &before) {
            self.also.insert(hash, name.clone());
        }
        match before {
            Some(own) if own.is_own() => own,
            _ => {
                let offer = Arc::new(offer);
                self.offers.insert(hash, offer.clone());
                offer
            }
        }
    }
}

/// The folder of offers, and what is in it.
#[derive(Debug)]
pub struct OfferStore {
    dir: PathBuf,
    known: Mutex<Known>,
    served: Served,
}

impl OfferStore {
    /// Opens the folder and reads what it holds. Half-written files are removed; a damaged one is set
    /// aside and told, since it can only be an offer that was never served or a disk that lies.
    ///
    /// # Errors
    /// [`BlocksError::Io`].
    pub fn open(dir: &Path) -> Result<Self, BlocksError> {
        let io_at = |what, path: &Path| {
            let path = path.to_owned();
            move |source| BlocksError::Io { what, path, source }
        };
        fs::create_dir_all(dir).map_err(io_at("create", dir))?;
        let (mut known, served) = (Known::default(), Served::new(dir));
        for entry in fs::read_dir(dir).map_err(io_at("list", dir))? {
            let path = entry.map_err(io_at("list", dir))?.path();
            match path.extension().and_then(|e| e.to_str()) {
                Some("tmp") => fs::remove_file(&path).map_err(io_at("remove", &path))?,
                Some(OWN | RELAYS) => match read_offer(&path) {
                    Ok((offer, _)) => {
                        served.read(&path);
                        drop(known.take(offer));
                    }
                    Err(e) => {
                        tracing::error!(error = %e, "a kept offer is damaged; it is set aside");
                        let aside = path.with_extension("damaged");
                        fs::rename(&path, &aside).map_err(io_at("rename", &path))?;
                    }
                },
                _ => served.read(&path),
            }
        }
        Ok(Self { dir: dir.to_owned(), known: Mutex::new(known), served })
    }

    /// Writes an own offer with its payload; durable when this returns.
    ///
    /// # Errors
    /// [`BlocksError::Io`]: then its header must not be served.
    pub fn put(&self, offer: Offer, payload: Option<&UnblindedPayload>) -> Result<Arc<Offer>, BlocksError> {
        self.write(&format!("{:x}.{OWN}", offer.block_hash()), &encoded(&offer, payload))?;
        Ok(self.known.lock().take(offer))
    }

    /// Writes a relay's offer that is about to be served; after a restart it counts as served. A kill of this
    /// process does not lose it; only [`Self::sync`] makes it outlast a loss of power, and nobody needs to wait for that: a machine is
    /// not up again before the slot is over, and the block itself is the relay's. Answers the offer that
    /// stands for the block: the own one where it was built here, too.
    ///
    /// # Errors
    /// [`BlocksError::Io`]: then its header must not be served.
    pub fn put_relays(&self, offer: Offer) -> Result<Arc<Offer>, BlocksError> {
        let name = format!("{:x}.{RELAYS}", offer.block_hash());
        write_then(&self.dir, &name, &encoded(&offer, None), Until::Written).map_err(self.failed(&name))?;
        Ok(self.known.lock().take(offer))
    }

    /// Makes durable what was written of an offer that is served: itself, and the mark.
    pub fn sync(&self, block_hash: B256) {
        let sync = |ending| match File::open(self.dir.join(format!("{block_hash:x}.{ending}"))) {
            Ok(file) => file.sync_all(),
            // Whose offer it is has one name or the other; what could not be written was told then.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        };
        let synced = [OWN, RELAYS, served::SERVED].into_iter().try_for_each(sync);
        if let Err(error) = synced.and_then(|()| File::open(&self.dir)?.sync_all()) {
            tracing::error!(%error, "a served header's offer was not synced; a loss of power would lose it");
        }
    }

    /// The offer of an execution block hash.
    pub fn get(&self, block_hash: B256) -> Option<Arc<Offer>> {
        self.known.lock().offers.get(&block_hash).cloned()
    }

    /// The relay that offered this block, where it was built here, too.
    pub fn also_of(&self, block_hash: B256) -> Option<String> {
        self.known.lock().also.get(&block_hash).cloned()
    }

    /// All offers of a slot.
    pub fn of_slot(&self, slot: Slot) -> Vec<Arc<Offer>> {
        self.known.lock().offers.values().filter(|o| o.meta.slot == slot).cloned().collect()
    }

    /// Remembers that a header call is answered with this offer, as long as this process runs. Whether it was new.
    pub fn note_served(&self, block_hash: B256) -> bool {
        self.served.choose(block_hash)
    }

    /// Writes that a header call is answered with this own offer, so that no restart makes a block that
    /// competed with ours look like one that nobody asked us for; then [`Self::sync`] makes it durable.
    pub fn mark_served(&self, block_hash: B256) {
        self.served.write_mark(block_hash);
    }

    /// Remembers whether an answer with this offer was handed over. Where none ever was, nobody was offered
    /// it, whatever was meant to be. Whether [`Self::settle_left`] has something to write.
    pub fn note_left(&self, block_hash: B256, left: bool) -> bool {
        self.served.note_left(block_hash, left)
    }

    /// Writes what [`Self::note_left`] remembers.
    pub fn settle_left(&self, block_hash: B256) {
        self.served.settle(block_hash);
    }

    /// Whether a header of this slot was served, before a restart too.
    pub fn was_served(&self, slot: Slot) -> bool {
        self.known.lock().offers.iter().any(|(h, o)| o.meta.slot == slot && self.served.was(h))
    }

    /// Reads an own offer's payload back. `Ok(None)` for a relay's, whose payload was never here.
    ///
    /// # Errors
    /// [`BlocksError::Io`], [`BlocksError::Damaged`].
    pub fn payload(&self, block_hash: B256) -> Result<Option<UnblindedPayload>, BlocksError> {
        if self.get(block_hash).is_some_and(|o| !o.is_own()) {
            return Ok(None);
        }
        let path = self.dir.join(format!("{block_hash:x}.{OWN}"));
        let (_, payload) = read_offer(&path)?;
        if payload.is_empty() {
            return Ok(None);
        }
        let damaged = |why: String| BlocksError::Damaged { path: path.clone(), why };
        tandem_beacon::decode(&payload, MAX_BLOCK_BYTES).map(Some).map_err(|e| damaged(e.to_string()))
    }

    /// Removes the offers of slots below `floor`, with the blinded blocks of those slots.
    pub fn prune(&self, floor: Slot) {
        let old: Vec<B256> = {
            let mut known = self.known.lock();
            let old: Vec<B256> = known.offers.iter().filter(|(_, o)| o.meta.slot < floor).map(|(h, _)| *h).collect();
            known.offers.retain(|_, o| o.meta.slot >= floor);
            old.iter().for_each(|hash| drop(known.also.remove(hash)));
            old
        };
        for hash in old {
            // What can not be removed now is read at the next start, and removed then.
            for ending in [OWN, RELAYS] {
                let _ = fs::remove_file(self.dir.join(format!("{hash:x}.{ending}")));
            }
            self.served.forget(hash);
        }
        let Ok(list) = fs::read_dir(&self.dir) else { return };
        for path in list.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "blinded")) {
            let block = fs::read(&path)
                .ok()
                .and_then(|raw| tandem_beacon::decode::<SignedBlindedBeaconBlock>(&raw, MAX_BLOCK_BYTES).ok());
            if block.is_none_or(|b| b.message.slot < floor) {
                let _ = fs::remove_file(path);
            }
        }
    }

    fn write(&self, name: &str, data: &[u8]) -> Result<(), BlocksError> {
        write_atomic(&self.dir, name, data).map_err(self.failed(name))
    }

    fn failed(&self, name: &str) -> impl FnOnce(io::Error) -> BlocksError {
        let path = self.dir.join(name);
        move |source| BlocksError::Io { what: "write", path, source }
    }
}

/// An offer as it is on disk.
fn encoded(offer: &Offer, payload: Option<&UnblindedPayload>) -> Vec<u8> {
    let meta = serde_json::to_vec(&offer.meta).unwrap_or_default();
    let mut out = MAGIC.to_vec();
    let bid = tandem_beacon::encode(&offer.bid);
    let payload = payload.map(tandem_beacon::encode).unwrap_or_default();
    for part in [&meta, &bid, &payload] {
        out.extend_from_slice(&(part.len() as u64).to_le_bytes());
        out.extend_from_slice(part);
    }
    let sum = Sha256::digest(&out);
    out.extend_from_slice(&sum);
    out
}

/// When a write is over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// The system has it: a kill of this process does not lose it.
    Written,
    /// The disk has it.
    Durable,
}

/// Writes a file whole or not at all: beside its name, synced, renamed, the folder synced.
pub(crate) fn write_atomic(dir: &Path, name: &str, data: &[u8]) -> io::Result<()> {
    write_then(dir, name, data, Until::Durable)
}

fn write_then(dir: &Path, name: &str, data: &[u8], until: Until) -> io::Result<()> {
    // A name of its own for each write: two at once must not take each other's file away.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let (to, tmp) = (dir.join(name), dir.join(format!("{name}.{}.tmp", NEXT.fetch_add(1, Ordering::Relaxed))));
    let mut file = File::create(&tmp)?;
    file.write_all(data)?;
    if until == Until::Durable {
        file.sync_data()?;
    }
    fs::rename(&tmp, &to)?;
    match until {
        Until::Written => Ok(()),
        Until::Durable => File::open(dir)?.sync_all(),
    }
}

/// Removes what a kill left half-written.
pub(crate) fn remove_half_written(dir: &Path) {
    let Ok(list) = fs::read_dir(dir) else { return };
    for path in list.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "tmp")) {
        let _ = fs::remove_file(path);
    }
}

fn read_offer(path: &Path) -> Result<(Offer, Vec<u8>), BlocksError> {
    let raw = fs::read(path).map_err(|source| BlocksError::Io { what: "read", path: path.to_owned(), source })?;
    let damaged = |why: &str| BlocksError::Damaged { path: path.to_owned(), why: why.into() };
    let (body, sum) = raw.split_last_chunk::<32>().ok_or_else(|| damaged("too short"))?;
    if Sha256::digest(body)[..] != sum[..] {
        return Err(damaged("its checksum is wrong"));
    }
    let mut rest = body.strip_prefix(MAGIC).ok_or_else(|| damaged("its first bytes are wrong"))?;
    let mut part = || -> Option<&[u8]> {
        let (len, tail) = rest.split_first_chunk::<8>()?;
        let (part, tail) = tail.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
        rest = tail;
        Some(part)
    };
    let (Some(meta), Some(bid), Some(payload)) = (part(), part(), part()) else { return Err(damaged("cut off")) };
    let meta = serde_json::from_slice(meta).map_err(|e| damaged(&e.to_string()))?;
    let bid = tandem_beacon::decode(bid, MAX_BLOCK_BYTES).map_err(|e| damaged(&e.to_string()))?;
    Ok((Offer { meta, bid }, payload.to_vec()))
}

#[cfg(test)]
mod tests;
