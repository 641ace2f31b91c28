//! Precompiles under state overrides: moved to another address, or replaced by code.

use super::fail::Fail;
use alloy_evm::precompiles::PrecompilesMap;
use alloy_primitives::Address;
use alloy_rpc_types_eth::state::StateOverride;
use std::collections::BTreeSet;

/// What overrides change. As in geth an override of a precompile's account takes the precompile away.
#[derive(Clone, Debug, Default)]
pub(crate) struct Precompiles {
    moved: Vec<(Address, Address)>,
    gone: Vec<Address>,
}

impl Precompiles {
    /// What these overrides mean, in the order of their addresses.
    ///
    /// # Errors
    /// geth's: what is moved is no precompile, or is moved to where something else is overridden; or an
    /// account's storage is replaced and changed at once.
    pub(crate) fn overridden(state: &StateOverride) -> Result<Self, Fail> {
        let known = revm::precompile::Precompiles::osaka();
        let mut found = Self::default();
        let mut taken = BTreeSet::new();
        let mut addresses: Vec<&Address> = state.keys().collect();
        addresses.sort_unstable();
        for address in addresses {
            if taken.contains(address) {
                return Err(Fail::new(format!("account {address} has already been overridden by a precompile")));
            }
            if state.get(address).is_some_and(|o| o.state.is_some() && o.state_diff.is_some()) {
                return Err(Fail::new(format!("account {address} has both 'state' and 'stateDiff'")));
            }
            let is_precompile = known.contains(address);
            let to = state.get(address).and_then(|o| o.move_precompile_to);
            if let Some(to) = to {
                if !is_precompile {
                    return Err(Fail::new(format!("account {address} is not a precompile")));
                }
                if state.contains_key(&to) {
                    return Err(Fail::new(format!("account {to} is already overridden")));
                }
                taken.insert(to);
                found.moved.push((*address, to));
            } else if is_precompile {
                found.gone.push(*address);
            }
        }
        Ok(found)
    }

    /// Changes an EVM's precompiles so.
    pub(crate) fn apply(&self, precompiles: &mut PrecompilesMap) {
        for (from, to) in &self.moved {
            let mut moving = None;
            precompiles.apply_precompile(from, |found| {
                moving = found;
                None
            });
            precompiles.apply_precompile(to, |_| moving);
        }
        for address in &self.gone {
            precompiles.apply_precompile(address, |_| None);
        }
    }
}
