//! The devnet's own endpoint. No real node has it.

use super::BeaconNode;
use crate::NodeError;
use serde::{Deserialize, Serialize};
use tandem_types::SlotClock;

/// `GET /tandem/v1/devnet`: `{"data":{"devnet":true,"clock":{…}}}`. Only a node that answers this may
/// have a clock whose pace differs from the chain's timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevnetClock {
    /// Always true.
    pub devnet: bool,
    /// The scaled clock.
    pub clock: SlotClock,
}

impl BeaconNode {
    /// The devnet's clock; `None` where the node is not the devnet.
    ///
    /// # Errors
    /// As [`BeaconNode::get`], but for 404, 405 and 400, by which real nodes refuse unknown paths.
    pub async fn devnet_clock(&self) -> Result<Option<SlotClock>, NodeError> {
        #[derive(Deserialize)]
        struct Answer {
            data: DevnetClock,
        }
        match self.get::<Answer>("devnet clock", "/tandem/v1/devnet").await {
            Ok(a) => Ok(a.data.devnet.then_some(a.data.clock)),
            Err(NodeError::NotFound { .. } | NodeError::Status { status: 400 | 405 | 501, .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }
}
