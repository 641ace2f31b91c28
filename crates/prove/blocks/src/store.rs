//! What was offered, on disk before it is served: payloads by block hash, and the blinded blocks that
//! came back. Kept until final.
//!
//! A file is `magic ‖ meta ‖ bid ‖ payload`, each part with its length before it, and a SHA-256 over
//! all of it at the end. It is written beside its name, synced, renamed, and the folder is synced.

use crate::{error::BlocksError, own_block::Made};
use alloy_primitives::{B256, U256};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::{HashMap, HashSet},
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
}

/// The folder of offers, and what is in it.
#[derive(Debug)]
pub struct OfferStore {
    dir: PathBuf,
    offers: Mutex<HashMap<B256, Arc<Offer>>>,
    served: Mutex<HashSet<B256>>,
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
        let (mut offers, mut served) = (HashMap::new(), HashSet::new());
        for entry in fs::read_dir(dir).map_err(io_at("list", dir))? {
            let path = entry.map_err(io_at("list", dir))?.path();
            match path.extension().and_then(|e| e.to_str()) {
                Some("tmp") => fs::remove_file(&path).map_err(io_at("remove", &path))?,
                Some("offer") => match read_offer(&path) {
                    Ok((offer, _)) => drop(offers.insert(offer.block_hash(), Arc::new(offer))),
                    Err(e) => {
                        tracing::error!(error = %e, "a kept offer is damaged; it is set aside");
                        let aside = path.with_extension("damaged");
                        fs::rename(&path, &aside).map_err(io_at("rename", &path))?;
                    }
                },
                Some("served") => served.extend(path.file_stem().and_then(|s| s.to_str()?.parse::<B256>().ok())),
                _ => {}
            }
        }
        Ok(Self { dir: dir.to_owned(), offers: Mutex::new(offers), served: Mutex::new(served) })
    }

    /// Writes an offer, and its payload if it is an own one; durable when this returns.
    ///
    /// # Errors
    /// [`BlocksError::Io`]: then its header must not be served.
    pub fn put(&self, offer: Offer, payload: Option<&UnblindedPayload>) -> Result<Arc<Offer>, BlocksError> {
        let hash = offer.block_hash();
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
        self.write(&format!("{hash:x}.offer"), &out)?;
        let offer = Arc::new(offer);
        self.offers.lock().insert(hash, offer.clone());
        Ok(offer)
    }

    /// The offer of an execution block hash.
    pub fn get(&self, block_hash: B256) -> Option<Arc<Offer>> {
        self.offers.lock().get(&block_hash).cloned()
    }

    /// All offers of a slot.
    pub fn of_slot(&self, slot: Slot) -> Vec<Arc<Offer>> {
        self.offers.lock().values().filter(|o| o.meta.slot == slot).cloned().collect()
    }

    /// Remembers that a header call is answered with this offer; durable when this returns, so that no
    /// crash makes a block that competed with ours look like one that nobody asked us for.
    pub fn mark_served(&self, block_hash: B256) {
        if !self.served.lock().insert(block_hash) {
            return;
        }
        let path = self.dir.join(format!("{block_hash:x}.served"));
        let written = File::create(path).and_then(|f| f.sync_all()).and_then(|()| File::open(&self.dir)?.sync_all());
        if let Err(error) = written {
            tracing::error!(%error, "the mark of a served header was not written; it holds until a restart");
        }
    }

    /// Whether a header of this slot was served, before a restart too.
    pub fn was_served(&self, slot: Slot) -> bool {
        let served = self.served.lock();
        self.offers.lock().iter().any(|(h, o)| o.meta.slot == slot && served.contains(h))
    }

    /// Reads an own offer's payload back. `Ok(None)` for a relay's, whose payload was never here.
    ///
    /// # Errors
    /// [`BlocksError::Io`], [`BlocksError::Damaged`].
    pub fn payload(&self, block_hash: B256) -> Result<Option<UnblindedPayload>, BlocksError> {
        let path = self.dir.join(format!("{block_hash:x}.offer"));
        let (_, payload) = read_offer(&path)?;
        if payload.is_empty() {
            return Ok(None);
        }
        let damaged = |why: String| BlocksError::Damaged { path: path.clone(), why };
        tandem_beacon::decode(&payload, MAX_BLOCK_BYTES).map(Some).map_err(|e| damaged(e.to_string()))
    }

    /// Writes a blinded block that came back, by its root; durable when this returns.
    ///
    /// # Errors
    /// [`BlocksError::Io`].
    pub fn put_blinded(&self, root: B256, block: &SignedBlindedBeaconBlock) -> Result<(), BlocksError> {
        self.write(&format!("{root:x}.blinded"), &tandem_beacon::encode(block))
    }

    /// Reads a blinded block back by its root.
    ///
    /// # Errors
    /// [`BlocksError::Io`], [`BlocksError::Damaged`].
    pub fn blinded(&self, root: B256) -> Result<SignedBlindedBeaconBlock, BlocksError> {
        let path = self.dir.join(format!("{root:x}.blinded"));
        let raw = fs::read(&path).map_err(|source| BlocksError::Io { what: "read", path: path.clone(), source })?;
        tandem_beacon::decode(&raw, MAX_BLOCK_BYTES).map_err(|e| BlocksError::Damaged { path, why: e.to_string() })
    }

    /// Removes the offers of slots below `floor`, with the blinded blocks of those slots.
    pub fn prune(&self, floor: Slot) {
        let old: Vec<B256> = {
            let mut offers = self.offers.lock();
            let old = offers.iter().filter(|(_, o)| o.meta.slot < floor).map(|(h, _)| *h).collect();
            offers.retain(|_, o| o.meta.slot >= floor);
            old
        };
        for hash in old {
            // What can not be removed now is read at the next start, and removed then.
            let _ = fs::remove_file(self.dir.join(format!("{hash:x}.offer")));
            if self.served.lock().remove(&hash) {
                let _ = fs::remove_file(self.dir.join(format!("{hash:x}.served")));
            }
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
        write_atomic(&self.dir, name, data).map_err(|source| BlocksError::Io {
            what: "write",
            path: self.dir.join(name),
            source,
        })
    }
}

/// Writes a file whole or not at all: beside its name, synced, renamed, the folder synced.
pub(crate) fn write_atomic(dir: &Path, name: &str, data: &[u8]) -> io::Result<()> {
    // A name of its own for each write: two at once must not take each other's file away.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let (to, tmp) = (dir.join(name), dir.join(format!("{name}.{}.tmp", NEXT.fetch_add(1, Ordering::Relaxed))));
    let mut file = File::create(&tmp)?;
    file.write_all(data)?;
    file.sync_data()?;
    fs::rename(&tmp, &to)?;
    File::open(dir)?.sync_all()
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
mod tests {
    use super::*;

    fn offer(slot: u64, id: u8) -> Offer {
        let mut bid = BuilderBid::default();
        bid.header.block_hash = B256::repeat_byte(id);
        let meta = OfferMeta {
            slot: Slot::new(slot),
            proposer: BlsPublicKey::default(),
            proposer_index: ValidatorIndex::new(3),
            parent: BlockId::default(),
            source: Source::Own(Made::Client),
            value: U256::from(7),
            due: 1,
        };
        Offer { meta, bid }
    }

    #[test]
    fn an_offer_is_read_back_after_a_restart_with_its_payload() {
        let dir = tempfile::tempdir().unwrap();
        let payload = UnblindedPayload::default();
        OfferStore::open(dir.path()).unwrap().put(offer(5, 1), Some(&payload)).unwrap();
        let store = OfferStore::open(dir.path()).unwrap();
        assert_eq!(*store.get(B256::repeat_byte(1)).unwrap(), offer(5, 1));
        assert_eq!(store.payload(B256::repeat_byte(1)).unwrap(), Some(payload));
    }

    #[test]
    fn a_half_written_file_is_no_offer_and_a_flipped_bit_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        OfferStore::open(dir.path()).unwrap().put(offer(5, 1), None).unwrap();
        fs::write(dir.path().join("x.offer.tmp"), b"half").unwrap();
        let path = dir.path().join(format!("{:x}.offer", B256::repeat_byte(1)));
        let mut raw = fs::read(&path).unwrap();
        raw[20] ^= 1;
        fs::write(&path, raw).unwrap();
        let store = OfferStore::open(dir.path()).unwrap();
        assert!(store.get(B256::repeat_byte(1)).is_none());
        assert!(!path.exists() && !dir.path().join("x.offer.tmp").exists());
    }

    #[test]
    fn writes_of_one_name_at_once_all_succeed_and_leave_one_whole_file() {
        let dir = tempfile::tempdir().unwrap();
        let write = |n: u8| write_atomic(dir.path(), "x.json", &vec![n; 10_000]);
        std::thread::scope(|s| {
            let all: Vec<_> = (0..8).map(|n| s.spawn(move || write(n))).collect();
            all.into_iter().for_each(|t| t.join().unwrap().unwrap());
        });
        let got = fs::read(dir.path().join("x.json")).unwrap();
        assert!(got.len() == 10_000 && got.iter().all(|b| *b == got[0]));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::write(dir.path().join("x.json.9.tmp"), b"half").unwrap();
        remove_half_written(dir.path());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_final_is_removed_with_its_blinded_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let store = OfferStore::open(dir.path()).unwrap();
        store.put(offer(5, 1), None).unwrap();
        store.put(offer(6, 2), None).unwrap();
        store.mark_served(B256::repeat_byte(1));
        assert!(OfferStore::open(dir.path()).unwrap().was_served(Slot::new(5)));
        assert!(!store.was_served(Slot::new(6)));
        let mut block = SignedBlindedBeaconBlock::default();
        block.message.slot = Slot::new(5);
        store.put_blinded(B256::repeat_byte(9), &block).unwrap();
        assert_eq!(store.blinded(B256::repeat_byte(9)).unwrap(), block);
        store.prune(Slot::new(6));
        assert!(store.of_slot(Slot::new(5)).is_empty() && !store.was_served(Slot::new(5)));
        assert_eq!(store.of_slot(Slot::new(6)).len(), 1);
        assert!(store.blinded(B256::repeat_byte(9)).is_err());
    }
}
