//! The negative control's verdict.

use super::oracle::Kind;
use crate::report::Report;
use anyhow::Result;
use std::collections::BTreeMap;

/// Whether a lost promise was found.
pub(super) fn is_caught(kinds: &BTreeMap<Kind, usize>) -> bool {
    losses(kinds) > 0
}

fn losses(kinds: &BTreeMap<Kind, usize>) -> usize {
    kinds.iter().filter(|(kind, _)| kind.is_loss()).map(|(_, n)| n).sum()
}

/// The control must have been caught by what an early acknowledgement leads to; whatever else went wrong beside
/// it does not count, and tells why it was not caught.
pub(super) fn judge(kinds: &BTreeMap<Kind, usize>, done: &Result<()>) -> Report {
    let losses = losses(kinds);
    let mut detail = match losses {
        0 => format!("the host acknowledged before it wrote, and no lost promise was found: {kinds:?}"),
        _ => format!("a host that acknowledges before it writes is caught: {kinds:?}"),
    };
    if let Err(e) = done {
        detail.push_str(&format!("; the loop ended early: {e:#}"));
    }
    let mut control = Report::default();
    control.add("negative control", losses > 0, losses as f64, "", detail);
    control
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_is_caught_by_lost_promises_only_and_not_by_whatever_else_went_wrong() {
        let of = |kinds: &[Kind]| judge(&kinds.iter().map(|k| (*k, 1)).collect(), &Ok(())).is_ok();
        assert!(of(&[Kind::Double]) && of(&[Kind::Forgotten, Kind::Unready]) && of(&[Kind::Lost]));
        assert!(!of(&[]) && !of(&[Kind::Unready, Kind::Silent, Kind::Rig, Kind::Missed, Kind::Denied]));
    }

    #[test]
    fn a_control_that_was_not_caught_tells_what_was_found_and_why_it_ended() {
        let ended = Err(anyhow::anyhow!("the host ended"));
        let report = judge(&BTreeMap::from([(Kind::Denied, 2)]), &ended);
        let row = &report.checks()[0];
        assert!(
            !report.is_ok() && row.detail.contains("Denied: 2") && row.detail.contains("the host ended"),
            "{row:?}"
        );
        assert!(judge(&BTreeMap::from([(Kind::Lost, 1)]), &ended).is_ok(), "it was caught before");
    }
}
