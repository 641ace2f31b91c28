//! Opens the narrow door: keys, journal, guard, signer.

use super::SystemClock;
use crate::{cli, config::Config};
use anyhow::{Context, Result, bail};
use std::{num::NonZeroUsize, sync::Arc};
use tandem_crypto::{BidSigner, SenderCache};
use tandem_journal::{FileStorage, FirstUse, Guard, Journal, Storage};
use tandem_keys::{BidKey, BlsSecretKey, HostSecret};
use tandem_signer::{Door, Signer};
use tandem_types::ChainSpec;

/// Recovered senders that are remembered: a transaction is decoded at admission and again by the guard.
const SENDERS: NonZeroUsize = match NonZeroUsize::new(16_384) {
    Some(n) => n,
    None => NonZeroUsize::MIN,
};

/// Everything of the door that others hold.
#[derive(Clone)]
pub struct Doorway {
    /// Checks drafts.
    pub guard: Arc<Guard>,
    /// Binds them.
    pub journal: Journal,
    /// Signs what is bound.
    pub signer: Arc<Signer>,
    /// The way through with the house's own grant.
    pub house: Door,
    /// Signs bids.
    pub bid_key: Arc<dyn BidSigner>,
    /// Recovered senders.
    pub senders: Arc<SenderCache>,
}

impl Doorway {
    /// Loads keys, opens and recovers the journal.
    ///
    /// # Errors
    /// For keys that can not be loaded, and for a journal that must not be used.
    pub fn open(config: &Config, args: &cli::Run, chain: &ChainSpec) -> Result<Self> {
        let keys = load_keys(config)?;
        let secret = HostSecret::load(&config.paths.host_secret)
            .context("the host secret; `tandem init` makes one. A host that promised must keep the one it had")?;
        let bid = BidKey::new(secret.bid_key(chain.chain_id)?, chain.genesis_fork_version);
        let senders = Arc::new(SenderCache::new(SENDERS));
        let (guard, grant) = Guard::new(*chain, Arc::clone(&senders));
        let guard = Arc::new(guard);
        let first_use = match (args.first_use, args.watermark) {
            (true, _) => FirstUse::Yes,
            (false, Some(slot)) => FirstUse::Watermark(slot.into()),
            (false, None) => FirstUse::No,
        };
        let storage = storage(config, args)?;
        let clock = Arc::new(SystemClock);
        let journal = Journal::open(storage, *chain, config.journal.clone(), clock, first_use)?;
        let signer = Arc::new(Signer::new(keys, secret, journal.clone()));
        let house = Door::new(Arc::clone(&guard), journal.clone(), Arc::clone(&signer), grant);
        Ok(Self { guard, journal, signer, house, bid_key: Arc::new(bid), senders })
    }
}

fn storage(config: &Config, args: &cli::Run) -> Result<Arc<dyn Storage>> {
    let files = FileStorage::new(config.paths.data.join("journal"))?;
    #[cfg(feature = "lab")]
    if args.lab_ack_before_write {
        tracing::warn!("LAB: this host acknowledges promises before it writes them; it can lose them");
        return Ok(Arc::new(tandem_journal::storage::lab::AckBeforeWrite::new(files)));
    }
    let _ = args;
    Ok(Arc::new(files))
}

/// The validators' keys. An unloadable one is an error: a host that serves fewer validators than its
/// operator thinks would miss duties silently.
///
/// # Errors
/// Names the file and the remedy.
pub fn load_keys(config: &Config) -> Result<Vec<BlsSecretKey>> {
    let keys = tandem_keys::load::lighthouse(&config.paths.keys, &config.paths.passwords)?;
    if keys.is_empty() {
        bail!("no keystore in {}. Remedy: copy or link the validators' keystores there", config.paths.keys.display());
    }
    Ok(keys)
}
