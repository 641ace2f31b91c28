//! Joins the module host with the floors around it.

use super::{SystemClock, chain::Chain, door::Doorway, keeper::Keeper};
use crate::config::Config;
use async_trait::async_trait;
use std::sync::Arc;
use tandem_host::{
    Doors, Grant, Host, Page, Ports, RecordEntry, RecordEvent, Records, Registry, Ring, SourceError, StatePort,
};
use tandem_journal::Journal;
use tandem_ledger::Ledger;
use tandem_module::{Commit, Meter, Module};
use tandem_preconf::PreconfConfig;
use tandem_signer::{Door, Signer};
use tandem_types::ModuleId;
use tokio::sync::watch;

/// Block entries that a module may lag by: three and a half hours of mainnet.
const RING: usize = 1_024;

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
            records: Arc::new(JournalLog::new(door.journal.clone(), Arc::clone(&door.signer))),
        };
        let registry = Registry::new().with("preconf", |config| {
            let module: Arc<dyn Module> = Arc::new(tandem_preconf::Preconf::new(PreconfConfig::parse(config)?));
            Ok(module)
        });
        let host = Host::new(ports, registry, config.paths.data.join("modules"));
        Self { host: Arc::new(host), ring }
    }
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
        self.ledger.meter(module.clone())
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

/// The journal as modules read it: what they committed to, signed.
struct JournalLog {
    journal: Journal,
    signer: Arc<Signer>,
    changed: watch::Sender<u64>,
}

impl JournalLog {
    fn new(journal: Journal, signer: Arc<Signer>) -> Self {
        let changed = watch::Sender::new(journal.durable_seq());
        let (mut records, news) = (journal.subscribe(), changed.clone());
        let durable = journal.clone();
        tokio::spawn(async move {
            // Whoever lags reads the log from its cursor: only the number matters here.
            while !matches!(records.recv().await, Err(tokio::sync::broadcast::error::RecvError::Closed)) {
                news.send_replace(durable.durable_seq());
            }
        });
        Self { journal, signer, changed }
    }
}

#[async_trait]
impl Records for JournalLog {
    async fn after(&self, module: &ModuleId, after: u64, limit: usize) -> Result<Page<RecordEntry>, SourceError> {
        let records = self.journal.records_after(after, limit);
        let upto = records.last().map_or_else(|| self.journal.durable_seq().max(after), |r| r.seq());
        let mut items = Vec::new();
        for record in records.into_iter().filter(|r| r.module() == module) {
            let seq = record.seq();
            let signed = self.signer.sign(record).await.map_err(|e| SourceError(e.to_string()))?;
            items.push(RecordEntry { seq, event: RecordEvent::Bound(Box::new(signed)) });
        }
        Ok(Page { items, upto })
    }
    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
