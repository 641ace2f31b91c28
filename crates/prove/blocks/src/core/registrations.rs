//! Registrations: checked, kept, passed on.

use super::Core;
use crate::{desk::Complaint, ports::Relay, served};
use std::sync::Arc;
use tandem_beacon::SignedValidatorRegistration;

impl Core {
    /// Takes registrations: ours are kept, and all valid ones are passed on to the relays.
    pub async fn register(self: &Arc<Self>, list: Vec<SignedValidatorRegistration>) -> Vec<Result<(), Complaint>> {
        let (version, now) = (self.chain.genesis_fork_version, self.now_ms() / 1000);
        // A thousand pairings take most of a second: off the runtime's threads.
        let checked = tokio::task::spawn_blocking(move || {
            let results: Vec<_> = list.iter().map(|r| served::verify(r, version, now)).collect();
            (list, results)
        });
        let Ok((list, mut results)) = checked.await else { return vec![Err(Complaint::failed("not verified"))] };
        let epoch = self.now_slot().epoch();
        {
            let mut registry = self.registry.lock();
            for (r, result) in list.iter().zip(&mut results) {
                if result.is_ok() && self.is_ours(&r.message.pubkey) {
                    *result = registry.put(&r.message, epoch);
                }
            }
        }
        let good: Vec<_> = list.into_iter().zip(&results).filter(|(_, r)| r.is_ok()).map(|(r, _)| r).collect();
        let core = self.clone();
        tokio::spawn(async move { core.after_registration(good).await });
        results
    }

    async fn after_registration(self: Arc<Self>, good: Vec<SignedValidatorRegistration>) {
        let keeper = self.clone();
        let save = move || {
            let _saving = keeper.saving.lock();
            // Copied out, so that the lock is not held while the disk works.
            let copy = keeper.registry.lock().clone();
            copy.save(&keeper.dir)
        };
        if let Err(e) = Self::blocking(save).await {
            tracing::warn!(error = %e, "registrations were not written");
        }
        self.delegate_all().await;
        let pass = |relay: &Arc<dyn Relay>| {
            let (relay, good) = (relay.clone(), &good);
            let within = self.scaled(self.config.relay_ms);
            async move {
                let result = tokio::time::timeout(within, relay.register(good)).await;
                (relay.name().to_owned(), result.unwrap_or_else(|_| Err("no answer in time".into())))
            }
        };
        for (relay, result) in futures::future::join_all(self.relays.iter().map(pass)).await {
            if let Err(why) = result {
                tracing::warn!(relay, why, "registrations were not taken");
            }
        }
    }
}
