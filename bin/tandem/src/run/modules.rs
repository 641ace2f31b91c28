//! Joins the module host with the floors around it.

use super::{SystemClock, books::JournalPrices, chain::Chain, door::Doorway, keeper::Keeper};
use crate::config::Config;
use async_trait::async_trait;
use std::sync::Arc;
use tandem_host::{
    Doors, Grant, Host, Page, Ports, RecordEntry, RecordEvent, Records, Registry, Ring, SourceError, StatePort,
};
use tandem_journal::{Journal, LogEntry, LogPage};
use tandem_ledger::Ledger;
use tandem_module::{Commit, Meter};
use tandem_signer::{Door, Signer};
use tandem_types::ModuleId;
use tokio::sync::watch;

/// Block entries that a module may lag by: three and a half hours of mainnet.
const RING: usize = 1_024;

/// What the house says of the content of built-in modules: they are this binary's, so its version is.
const CONTENT: &str = concat!("tandem ", env!("CARGO_PKG_VERSION"));

/// The module host and what feeds it.
pub struct Modules {
    /// The host.
    pub host: Arc<Host>,
    /// The chain, as modules read it.
    pub ring: Arc<Ring>,
}

impl Modules {
    /// Joins; no module runs yet.
    pub fn new(config: &Config, chain: &Chain, door: &Doorway, keeper: &Keeper, ledger: &Arc<Ledger>) -> Self {
        let ring = Arc::new(Ring::new(RING));
        let ports = Ports {
            chain: chain.spec,
            state: Arc::new(StatePort::new(Arc::clone(&keeper.state))),
            slots: Arc::new(keeper.blocks.clone()),
            clock: Arc::new(SystemClock),
            doors: Arc::new(Way { door: door.clone(), ledger: Arc::clone(ledger) }),
            blocks: ring.clone(),
            records: Arc::new(JournalLog { journal: door.journal.clone(), signer: Arc::clone(&door.signer) }),
        };
        let host = Host::new(ports, registry(chain.spec.devnet), config.paths.data.join("modules"));
        Self { host: Arc::new(host), ring }
    }
}

/// The modules that are built in, on a devnet or not.
pub fn registry(devnet: bool) -> Registry {
    let registry = Registry::new().with("preconf", CONTENT, tandem_preconf::factory);
    #[cfg(feature = "lab")]
    let registry = if devnet { hostile(registry) } else { registry };
    let _ = devnet;
    registry
}

/// LAB, and on the devnet only: modules that panic, hang and flood on demand. They run where the
/// configuration names them, and nowhere else.
#[cfg(feature = "lab")]
fn hostile(registry: Registry) -> Registry {
    use tandem_testkit::hostile::Hostile;
    registry.with("lab-hostile", CONTENT, |_| Ok(Arc::new(Hostile::alone()))).with(
        "lab-hostile-preconf",
        CONTENT,
        |config| Ok(Arc::new(Hostile::around(tandem_preconf::factory(config)?))),
    )
}

/// The narrow door and the books, for each module.
struct Way {
    door: Doorway,
    ledger: Arc<Ledger>,
}

impl Doors for Way {
    fn commit(&self, grant: &Grant) -> Arc<dyn Commit> {
        let made = tandem_journal::Grant::module(grant.module.clone(), grant.signing_id, grant.permissions.clone());
        match made {
            Ok(grant) => {
                let d = &self.door;
                Arc::new(Door::new(Arc::clone(&d.guard), d.journal.clone(), Arc::clone(&d.signer), grant))
            }
            Err(refusal) => Arc::new(Shut(refusal)),
        }
    }
    fn meter(&self, module: &ModuleId) -> Arc<dyn Meter> {
        self.ledger.meter(module.clone(), Arc::new(JournalPrices(self.door.journal.clone())))
    }
}

/// A door that stays shut.
struct Shut(tandem_module::Refusal);

#[async_trait]
impl Commit for Shut {
    async fn commit(&self, _: tandem_types::Draft) -> Result<tandem_types::Signed, tandem_module::Refusal> {
        Err(self.0.clone())
    }
}

/// A module's name among the journal's readers; a module's name has no blank.
pub fn reader(module: &ModuleId) -> String {
    format!("module {module}")
}

/// The journal as modules read it: what they committed to, signed, and what became of it.
struct JournalLog {
    journal: Journal,
    signer: Arc<Signer>,
}

#[async_trait]
impl Records for JournalLog {
    async fn after(&self, module: &ModuleId, after: u64, limit: usize) -> Result<Page<RecordEntry>, SourceError> {
        // Records and how far they reach come from one look: with two, what becomes durable in between
        // would be passed over for ever.
        let LogPage { entries, upto } = self.journal.log_after(after, limit);
        let mut items = Vec::new();
        for entry in entries {
            let seq = entry.seq();
            let event = match entry {
                LogEntry::Bound(record) if record.module() == module => {
                    let signed = self.signer.sign(record).await.map_err(|e| SourceError(e.to_string()))?;
                    RecordEvent::Bound(Box::new(signed))
                }
                LogEntry::Settled { of, fate, .. } if of.module() == module => {
                    RecordEvent::Fate { of: of.seq(), fate: Box::new(fate), is_final: true }
                }
                _ => continue,
            };
            items.push(RecordEntry { seq, event });
        }
        Ok(Page { items, upto })
    }
    fn changed(&self) -> watch::Receiver<u64> {
        self.journal.durable_changes()
    }
    fn read(&self, module: &ModuleId, upto: Option<u64>) {
        match upto {
            Some(upto) => self.journal.read_by(&reader(module), upto),
            None => self.journal.read_no_more_by(&reader(module)),
        }
    }
}
