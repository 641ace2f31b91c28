//! The floors above the keeper: books, modules, and the gateway. No promise that was made needs them, so a fault
//! of theirs never takes the keeper down with it: see [`super::stop::stay`].

use super::{backend, chain::Chain, door::Doorway, keeper::Keeper, modules::Modules, pumps::Pumps, views};
use crate::{
    cli,
    config::{self, Config},
};
use anyhow::Result;
use std::{sync::Arc, time::Instant};
use tandem_gateway::Running;
use tandem_host::Host;
use tandem_ledger::Ledger;

/// What runs there, in the order in which it was opened.
pub struct Upper {
    ledger: Arc<Ledger>,
    host: Arc<Host>,
    pumps: Pumps,
    /// Where requesters ask.
    pub gateway: Running,
}

impl Upper {
    /// Opens it. What could be opened is closed again where something could not.
    ///
    /// # Errors
    /// For books that can not be read, modules that can not be had, and an address that can not be listened at.
    pub async fn open(
        config: &Config,
        args: &cli::Run,
        chain: &Chain,
        door: &Doorway,
        keeper: &Keeper,
        started: Instant,
    ) -> Result<Self> {
        let path = config.paths.data.join("ledger.redb");
        let ledger = Ledger::open(&path, chain.spec.chain_id, &config.ledger)?;
        let modules = Modules::new(config, chain, door, keeper, &ledger);
        let host = Arc::clone(&modules.host);
        let shared = views::Shared::new(config, args, chain, door, keeper, &ledger, &modules, started);
        let pumps = Pumps::start(&shared, &modules);
        let applied = host.apply(config.run.clone()).await;
        let served = match applied.map_err(|fault| config::with_its_line(&args.config.config, &fault)) {
            Ok(()) => backend::serve(config, shared).await,
            Err(fault) => Err(fault),
        };
        match served {
            Ok(gateway) => Ok(Self { ledger, host, pumps, gateway }),
            Err(fault) => {
                host.stop().await;
                pumps.stop();
                Err(fault)
            }
        }
    }

    /// Stops listening, stops the keeper, and then closes the rest.
    ///
    /// # Errors
    /// If the books could not be synced.
    pub async fn stop(self, keeper: Keeper) -> Result<()> {
        self.gateway.stop().await;
        keeper.stop();
        self.host.stop().await;
        self.pumps.stop();
        Ok(self.ledger.sync()?)
    }
}
