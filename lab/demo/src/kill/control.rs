//! The negative control's verdict.

use super::oracle::Kind;
use crate::report::Report;
use anyhow::{Result, bail};
use std::collections::BTreeMap;

/// Whether a lost promise was found.
pub(super) fn is_caught(kinds: &BTreeMap<Kind, usize>) -> bool {
    losses(kinds) > 0
}

fn losses(kinds: &BTreeMap<Kind, usize>) -> usize {
    kinds.iter().filter(|(kind, _)| kind.is_loss()).map(|(_, n)| n).sum()
}

/// The control must have been caught by what an early acknowledgement leads to; whatever else went wrong beside
/// it does not count.
pub(super) fn judge(kinds: &BTreeMap<Kind, usize>, seed: u64) -> Result<Report> {
    let losses = losses(kinds);
    if losses == 0 {
        bail!("the host acknowledged before it wrote, and the loop found no lost promise (seed {seed}): {kinds:?}");
    }
    println!("negative control: a host that acknowledges before it writes is caught: {kinds:?}");
    let mut control = Report::default();
    let detail = format!("an acknowledgement before the write was found: {kinds:?}");
    control.add("negative control", true, losses as f64, "", detail);
    Ok(control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_is_caught_by_lost_promises_only_and_not_by_whatever_else_went_wrong() {
        let of = |kinds: &[Kind]| judge(&kinds.iter().map(|k| (*k, 1)).collect(), 1).is_ok();
        assert!(of(&[Kind::Double]) && of(&[Kind::Forgotten, Kind::Unready]) && of(&[Kind::Lost]));
        assert!(!of(&[]) && !of(&[Kind::Unready, Kind::Silent, Kind::Rig, Kind::Missed, Kind::Denied]));
    }
}
