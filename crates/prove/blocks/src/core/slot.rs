//! One of our slots: its sealed list, and what is ready on which parent.

use crate::{
    attributes::Attributes,
    desk::EncodedBid,
    due::{DueSet, Promised},
    opening::Claims,
    store::Offer,
};
use alloy_primitives::B256;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use tandem_types::SlotKey;
use tokio::sync::watch;

/// The sealed list, as it is durable.
pub(crate) type SealedList = Arc<Vec<Promised>>;

/// A slot's work.
pub(crate) struct SlotWork {
    pub key: SlotKey,
    /// The sealed list; the lock makes sealing one step whoever comes first: timer or header call.
    pub sealed: tokio::sync::Mutex<Option<SealedList>>,
    /// What is ready, by parent hash.
    parents: Mutex<HashMap<B256, Arc<OnParent>>>,
}

/// An own block that can be served at once: written, signed, encoded.
#[derive(Clone, Debug)]
pub(crate) struct OwnBid {
    pub offer: Arc<Offer>,
    /// The client was asked whether the block is valid, and did not answer.
    pub unconfirmed: bool,
    pub encoded: Arc<EncodedBid>,
}

/// How far the own block is.
#[derive(Clone, Debug)]
pub(crate) enum OwnState {
    /// Being made.
    Pending,
    /// Nothing is due: none is made.
    NotNeeded,
    /// Ready; a fuller one may follow.
    Ready(OwnBid),
    /// It can not be made.
    Failed(String),
}

/// One slot on one parent.
pub(crate) struct OnParent {
    pub attributes: Arc<Attributes>,
    /// What is due; `None` while it is not known.
    pub due: watch::Sender<Option<Arc<DueSet>>>,
    pub own: watch::Sender<OwnState>,
    /// What the relays' bids claim, once they are sorted.
    pub claims: Mutex<Option<Claims>>,
    /// What was served, and is served again.
    pub served: tokio::sync::Mutex<Option<Arc<EncodedBid>>>,
}

impl SlotWork {
    pub fn new(key: SlotKey) -> Self {
        Self { key, sealed: tokio::sync::Mutex::new(None), parents: Mutex::default() }
    }

    /// The work on a parent; the flag says that it is new, and has to be prepared. Attributes that
    /// changed make it new: everything was built from the old ones.
    pub fn on(&self, attributes: &Arc<Attributes>) -> (Arc<OnParent>, bool) {
        let mut parents = self.parents.lock();
        if let Some(have) = parents.get(&attributes.parent.hash)
            && have.attributes == *attributes
        {
            return (have.clone(), false);
        }
        let new = Arc::new(OnParent {
            attributes: attributes.clone(),
            due: watch::Sender::new(None),
            own: watch::Sender::new(OwnState::Pending),
            claims: Mutex::default(),
            served: tokio::sync::Mutex::new(None),
        });
        parents.insert(attributes.parent.hash, new.clone());
        (new, true)
    }
}

impl OnParent {
    /// Whether an own block is ready and has the client's VALID, or needs none.
    pub fn is_confirmed(&self) -> bool {
        matches!(&*self.own.borrow(), OwnState::Ready(own) if !own.unconfirmed)
    }
    /// Whether the own block that is ready has no VALID.
    pub fn is_unconfirmed(&self) -> bool {
        matches!(&*self.own.borrow(), OwnState::Ready(own) if own.unconfirmed)
    }
}
