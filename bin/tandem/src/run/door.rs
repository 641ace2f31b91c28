//! Opens the narrow door: keys, journal, guard, signer.

use super::{SystemClock, now_ms};
use crate::{cli, config::Config};
use anyhow::{Context, Result, bail};
use std::{num::NonZeroUsize, sync::Arc};
use tandem_crypto::{BidSigner, SenderCache};
use tandem_journal::{FileStorage, FirstUse, Guard, Journal, Storage};
use tandem_keys::{BidKey, BlsSecretKey, HostSecret};
use tandem_signer::{Door, Signer};
use tandem_types::{ChainSpec, Slot};

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
        let first_use = first_use(args, chain.clock.slot_at(now_ms()));
        let storage = storage(config, args)?;
        let clock = Arc::new(SystemClock);
        let journal = Journal::open(storage, *chain, config.journal.clone(), clock, first_use);
        let journal = match args.watermark.filter(|_| first_use == FirstUse::No) {
            Some(stale) => journal.with_context(|| too_low(stale, chain.clock.slot_at(now_ms())))?,
            None => journal?,
        };
        // Before the floor can rise: what became final just before a crash is told to none of them yet.
        journal.read_by(super::books::READER, 0);
        for (id, _) in config.run.modules.iter().filter(|(_, m)| m.enabled) {
            journal.read_by(&super::modules::reader(id), 0);
        }
        let signer = Arc::new(Signer::new(keys, secret, journal.clone()));
        let house = Door::new(Arc::clone(&guard), journal.clone(), Arc::clone(&signer), grant);
        Ok(Self { guard, journal, signer, house, bid_key: Arc::new(bid), senders })
    }
}

/// What the operator said of the journal. A watermark counts only above every slot that may have been promised:
/// one that was right once, and stands in a service's file since, would let any older copy of the journal pass.
fn first_use(args: &cli::Run, now: Slot) -> FirstUse {
    match (args.first_use, args.watermark.map(Slot::new)) {
        (true, _) => FirstUse::Yes,
        (false, Some(slot)) if slot >= least_watermark(now) => FirstUse::Watermark(slot),
        (false, Some(slot)) => {
            tracing::warn!("{}; it is taken as not given", too_low(slot.get(), now));
            FirstUse::No
        }
        (false, None) => FirstUse::No,
    }
}

/// The first slot that nobody can have promised yet: proposers are known to the end of the next epoch.
fn least_watermark(now: Slot) -> Slot {
    now.epoch().saturating_add(2).start()
}

fn too_low(watermark: u64, now: Slot) -> String {
    let least = least_watermark(now);
    format!(
        "--watermark {watermark} does not lie above every slot that may have been promised. Remedy: if the journal was \
         lost or is an older copy, --watermark {least} or higher, for this one start; else leave the flag away"
    )
}

fn storage(config: &Config, args: &cli::Run) -> Result<Arc<dyn Storage>> {
    let files = FileStorage::new(config.paths.data.join("journal"))?;
    #[cfg(feature = "lab")]
    if args.lab_ack_before_write {
        tracing::warn!("LAB: this host acknowledges promises before it writes them; it can lose them");
        return Ok(Arc::new(tandem_journal::storage::lab::AckBeforeWrite::new(files)));
    }
    #[cfg(feature = "lab")]
    if let Some(file) = &args.lab_disk_fails_while {
        tracing::warn!(file = %file.display(), "LAB: this host's disk fails while this file exists");
        return Ok(Arc::new(tandem_journal::storage::lab::FailsWhile::new(files, file.clone())));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn args(first_use: bool, watermark: Option<u64>) -> cli::Run {
        use clap::Parser as _;
        let mut line = vec!["tandem".to_owned(), "run".to_owned()];
        line.extend(first_use.then(|| "--first-use".to_owned()));
        line.extend(watermark.map(|w| format!("--watermark={w}")));
        match cli::Cli::parse_from(line).command {
            cli::Command::Run(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_watermark_counts_only_above_the_look_ahead() {
        let now = Slot::new(495);
        let of = |watermark| first_use(&args(false, watermark), now);
        assert_eq!((of(None), of(Some(1)), of(Some(543))), (FirstUse::No, FirstUse::No, FirstUse::No));
        assert_eq!(of(Some(544)), FirstUse::Watermark(Slot::new(544)), "slots 512 to 543 are the next epoch");
        assert_eq!(first_use(&args(true, None), now), FirstUse::Yes);
        assert!(too_low(1, now).contains("--watermark 544 or higher"));
    }
}
