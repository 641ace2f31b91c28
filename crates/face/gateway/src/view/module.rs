//! Modules.

use serde::{Deserialize, Serialize};
use tandem_types::ModuleId;

/// How a module lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModuleState {
    /// It works.
    Running,
    /// It starts, or comes back after a fault.
    Restarting,
    /// The operator switched it off.
    Disabled,
    /// It failed too often and stays off until the operator switches it on.
    Banned,
}

/// One module with its health and load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModuleView {
    /// Its name in the configuration.
    pub id: ModuleId,
    /// What kind of module it is, by its manifest.
    pub name: String,
    /// Its version, by its manifest.
    pub version: String,
    /// `native`.
    pub kind: String,
    /// How it lives.
    pub state: ModuleState,
    /// Methods that it serves.
    pub methods: Vec<String>,
    /// Requests answered with a result.
    pub answered: u64,
    /// Requests refused.
    pub refused: u64,
    /// Requests under way.
    pub in_flight: u64,
    /// Events handled.
    pub events: u64,
    /// Events waiting.
    pub backlog: u64,
    /// Panics.
    pub panics: u64,
    /// Hangs: its thread not given back, an event not finished, or several requests in a row not answered,
    /// each within its limit.
    pub hangs: u64,
    /// Requests that it did not answer in time.
    pub late: u64,
    /// Restarts.
    pub restarts: u64,
    /// Median microseconds of a request, where they were measured.
    pub p50_us: Option<u64>,
    /// 99th percentile of them.
    pub p99_us: Option<u64>,
    /// Its last fault.
    pub last_fault: Option<String>,
}
