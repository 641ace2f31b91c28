//! The modules that are configured: those that run, and those that are switched off and still shown.

use crate::{
    config::{HostConfig, ModuleConfig},
    health::{Counters, ModuleHealth},
    unit::{Spec, Unit},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tandem_module::Permission;
use tandem_types::ModuleId;
use tokio::task::JoinHandle;

/// A module that runs.
pub(crate) struct Running {
    pub unit: Arc<Unit>,
    pub task: JoinHandle<()>,
    pub config: ModuleConfig,
}

/// A module that is configured, as it is shown.
pub(crate) enum Place {
    On(Arc<Unit>),
    /// Switched off after it ran: what it did stays to be seen, and goes on when it is switched on again.
    Off(Arc<Unit>),
    /// Switched off since the host began. None of its code was asked anything.
    Unused(Box<ModuleHealth>),
}

impl Place {
    pub(crate) fn health(&self) -> ModuleHealth {
        match self {
            Self::On(unit) | Self::Off(unit) => unit.health(),
            Self::Unused(health) => health.as_ref().clone(),
        }
    }
    /// Whether it is this module, and was granted that when it was started last.
    pub(crate) fn is_granted(&self, module: &ModuleId, permission: &Permission) -> bool {
        match self {
            Self::On(unit) | Self::Off(unit) => {
                unit.spec.id == *module && unit.spec.grant.permissions.contains(permission)
            }
            Self::Unused(_) => false,
        }
    }
}

/// The modules, as the last change left them.
#[derive(Default)]
pub(crate) struct Modules {
    pub config: HostConfig,
    pub on: BTreeMap<ModuleId, Running>,
    /// Those that ran and are switched off.
    pub off: BTreeMap<ModuleId, Arc<Unit>>,
}

impl Modules {
    /// What a module's counters go on from, if it is still of the same kind.
    pub(crate) fn counters_of_off(&mut self, spec: &Spec) -> Option<Arc<Counters>> {
        let unit = self.off.remove(&spec.id)?;
        (unit.spec.config.factory == spec.config.factory).then(|| unit.counters())
    }

    /// All that are configured, by name.
    pub(crate) fn places(&self) -> Vec<Place> {
        let place = |(id, config): (&ModuleId, &ModuleConfig)| match (self.on.get(id), self.off.get(id)) {
            (Some(running), _) => Place::On(running.unit.clone()),
            (None, Some(unit)) => Place::Off(unit.clone()),
            (None, None) => Place::Unused(Box::new(ModuleHealth::counted(id, config, &Counters::default()))),
        };
        self.config.modules.iter().map(place).collect()
    }
}

/// Stops a module, and comes back when nothing of it is fed any more.
pub(crate) async fn end(mut running: Running) {
    running.unit.stop();
    // It only has to commit at most; its thread is not waited for.
    if tokio::time::timeout(Duration::from_secs(5), &mut running.task).await.is_err() {
        tracing::warn!(module = %running.unit.spec.id, "a module's supervisor did not end in time");
        // Two of one module would feed it twice.
        running.task.abort();
    }
    running.unit.let_go();
}
