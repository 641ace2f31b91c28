//! What the block of one slot can hold, whatever happens until then. Pure.

use crate::own_block;
use tandem_journal::BlockLimits;

/// Blocks below the head that a reorg may replace: fees are judged from the head's grandparent, too.
const REPLACED: u64 = 2;
/// Most bytes of a block's RLP (EIP-7934: 10 MiB less 2 MiB), less what header and withdrawals take.
pub(crate) const MAX_BLOCK_RLP: u64 = (8 << 20) - (16 << 10);

/// The limits of a block `slots` slots above a head with this gas limit, in a fork with so many blobs.
///
/// Any proposer may lower the gas limit by a 1,024th, in each slot, and in each block that takes the place
/// of one that raised it. The client, whose cap on simulated gas is `gas_cap`, may have to simulate the
/// block: on another parent than its head there is no other way.
pub fn of_block(gas_limit: u64, slots: u64, gas_cap: u64, blobs: u64) -> BlockLimits {
    let steps = slots.saturating_add(2 * REPLACED);
    let least = gas_limit.saturating_sub((gas_limit / 1_024).saturating_mul(steps));
    let gas = least.min(own_block::simulated_gas(gas_cap));
    // In a block each transaction takes up to three bytes more, and none costs less than 21,000 gas. A fourth
    // byte comes with 64 KiB, which cost far more than that.
    let bytes = MAX_BLOCK_RLP.saturating_sub(3 * (gas / 21_000));
    BlockLimits { gas, blobs, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_holds_what_the_lowest_gas_limit_on_the_way_and_a_simulation_allow() {
        let gas = |limit, slots, cap| of_block(limit, slots, cap, 9).gas;
        assert_eq!(gas(60_000_000, 1, u64::MAX), 60_000_000 - 5 * 58_593);
        assert_eq!(gas(60_000_000, 64, u64::MAX), 60_000_000 - 68 * 58_593);
        assert_eq!(gas(60_000_000, 1, 50_000_000), 46_000_000, "what the requests' calls need is left");
        assert_eq!((gas(60_000_000, 5_000, u64::MAX), gas(60_000_000, 1, 1)), (0, 0));
    }

    #[test]
    fn no_run_of_proposers_makes_a_block_smaller_than_it_was_said() {
        let lowered = |limit: u64| crate::own_block::next_gas_limit(limit, 0);
        for head in [5_000, 30_000_000, 60_000_000, 4_000_000_000] {
            // The head and its parent raised the limit, and are replaced by two that lower it.
            let raised = |limit: u64| crate::own_block::next_gas_limit(limit, u64::MAX);
            let grandparent = (head - head / 400..=head).find(|g| raised(raised(*g)) >= head).unwrap();
            let mut limit = lowered(lowered(grandparent));
            for slots in 1..=64 {
                limit = lowered(limit);
                let said = of_block(head, slots, u64::MAX, 9).gas;
                assert!(said <= limit, "{head} in {slots} slots: {said} of {limit}");
            }
        }
    }

    #[test]
    fn the_bytes_leave_what_the_list_itself_takes() {
        let limits = of_block(60_000_000, 1, u64::MAX, 9);
        let most = limits.gas / 21_000;
        let overhead: u64 = most * 3;
        assert!(limits.bytes + overhead <= MAX_BLOCK_RLP && limits.bytes > MAX_BLOCK_RLP - (16 << 10));
    }
}
