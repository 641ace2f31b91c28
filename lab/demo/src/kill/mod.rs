//! The kill loop: clients hammer a real host while it is killed at random moments.
//!
//! The judge ([`oracle`], [`audit`], [`verdict`]) knows only what clients received and what the chain
//! shows. Kill moments, and what each client asks for by which sender, come from a seed that is printed;
//! how they interleave is the machine's.
//!
//! # What must hold
//! - No nonce is promised to two transactions, no slot's promises exceed its room, and at least one slot
//!   was filled to its limit.
//! - Every promise is for what was asked, signed by the committer that the slot's proposer delegated, in
//!   both dialects; delegations never change; a slot's completeness root covers all its promises.
//! - Every promise, asked for again after kills, when its slot is over and at the end, is answered with
//!   the same bytes. What was not answered gets its promise, or a fresh answer that fits what others hold.
//! - Every promise is in its slot's block. Only a kill between header and publication excuses.
//! - After each kill an honest request succeeds, mostly within [`SOON`], always within half a minute.

pub mod audit;
pub mod clients;
pub mod oracle;
pub mod proof;
pub mod room;
pub mod verdict;

use crate::{
    process::Host,
    report::Report,
    rig::{Rig, RigConfig, now_ms},
};
use anyhow::{Result, bail};
use audit::Auditor;
use clients::Crowd;
use oracle::{Kind, Oracle};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;
use verdict::{Downs, Seen};

/// Wall milliseconds of a slot: mainnet's. A restart takes well under an eighth of it, so that a promise
/// is kept whenever the kill comes.
const SLOT_MS: u64 = 12_000;
/// After how long after a kill an honest request succeeds, for nineteen kills of twenty.
const SOON: Duration = Duration::from_secs(5);
/// Rounds after which slots that are over are checked: well before they are final.
const CHECK_EVERY: u32 = 20;

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The binary.
    pub binary: PathBuf,
    /// Rounds.
    pub rounds: u32,
    /// Seed.
    pub seed: u64,
    /// Negative control: the host acknowledges before it wrote.
    pub break_write: bool,
}

/// Runs the loop and prints its table.
///
/// # Errors
/// If the host does not come back, or a contradiction was found; with the seed and the command that
/// replays it.
pub async fn run(options: &Options) -> Result<Report> {
    println!("kill loop: {} rounds, seed {}", options.rounds, options.seed);
    let accounts = clients::accounts(options.rounds);
    let config = RigConfig { slot_ms: SLOT_MS, seed: options.seed, accounts, ..RigConfig::default() };
    let mut rig = Rig::start(config).await?;
    let mut host = start_host(&mut rig, options).await?;
    let oracle = Arc::new(Mutex::new(Oracle::default()));
    let crowd = Crowd::start(&rig, &host.gateway, Arc::clone(&oracle), options.seed, accounts);
    let mut run = Run {
        auditor: Auditor::new(&rig, &host.gateway, Arc::clone(&oracle)),
        seen: Seen::default(),
        oracle,
        downs: Downs::new(),
        returns: Vec::new(),
        probes: Vec::new(),
    };
    let mut report = Report::default();
    let done = run.all(&rig, &mut host, &crowd, options, &mut report).await;
    let kinds = run.oracle.lock().await.kinds().clone();
    drop(run);
    host.stop()?;
    rig.stop().await;
    done?;
    if options.break_write {
        return judge_control(&kinds, options.seed);
    }
    print!("{}", report.table());
    if !report.is_ok() {
        bail!("replay with: tandem lab kill-loop --rounds {} --seed {}", options.rounds, options.seed);
    }
    Ok(report)
}

async fn start_host(rig: &mut Rig, options: &Options) -> Result<Host> {
    let mut host = rig.add_host(&options.binary, "host", 0..rig.validators(), "prysm", &[]).await?;
    room::narrow(&host.dir.join("tandem.toml"), rig)?;
    if options.break_write {
        host.flag("--lab-ack-before-write");
    }
    host.flag("--first-use");
    host.start()?;
    host.ready(Duration::from_secs(30)).await?;
    host.without_flag("--first-use");
    rig.connect(&host).await?;
    Ok(host)
}

/// A run under way.
struct Run<'a> {
    auditor: Auditor<'a>,
    seen: Seen,
    oracle: Arc<Mutex<Oracle>>,
    downs: Downs,
    /// From each kill until the host was ready.
    returns: Vec<Duration>,
    /// From each kill until an honest request succeeded.
    probes: Vec<Option<Duration>>,
}

impl Run<'_> {
    async fn all(
        &mut self,
        rig: &Rig,
        host: &mut Host,
        crowd: &Crowd,
        options: &Options,
        report: &mut Report,
    ) -> Result<()> {
        let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
        for round in 1..=options.rounds {
            let moment = Duration::from_millis(rng.random_range(20..900));
            self.one_round(host, crowd, moment).await?;
            self.auditor.after_kill(crowd).await?;
            if round % CHECK_EVERY == 0 {
                self.auditor.slots_before(rig.slot_now().saturating_sub(1)).await?;
                self.seen.decisions(rig).await?;
            }
            if round % CHECK_EVERY == 0 || round == options.rounds {
                self.tell(round).await;
            }
            if !self.oracle.lock().await.faults().is_empty() {
                break;
            }
        }
        crowd.stop().await;
        let failed = !self.oracle.lock().await.faults().is_empty();
        // A control that was caught needs no more; anything else is looked at to the end.
        if options.break_write && failed {
            return self.print_faults().await;
        }
        self.auditor.close(crowd).await?;
        let last = self.oracle.lock().await.held().iter().map(|h| h.asked.slot).max().unwrap_or(0);
        rig.wait_for_slot(last + 2).await?;
        self.auditor.slots_before(u64::MAX).await?;
        let ends = verdict::judge(rig, &self.oracle, &mut self.seen, &self.downs).await?;
        self.rows(report, &ends).await;
        self.print_faults().await
    }

    async fn one_round(&mut self, host: &mut Host, crowd: &Crowd, moment: Duration) -> Result<()> {
        tokio::time::sleep(moment).await;
        crowd.host_is_up(false);
        let (begin, from) = (Instant::now(), now_ms());
        host.kill()?;
        host.start()?;
        host.ready(Duration::from_secs(30)).await?;
        self.returns.push(begin.elapsed());
        self.downs.push((from, now_ms()));
        crowd.host_is_up(true);
        self.probes.push(crowd.probe(begin).await);
        Ok(())
    }

    async fn tell(&self, round: u32) {
        let o = self.oracle.lock().await;
        println!(
            "  round {round}: {} promises held, {} verified, {} contradictions, refused {:?}",
            o.held().len(),
            self.auditor.verified(),
            o.faults().len(),
            o.refusals()
        );
    }

    async fn print_faults(&self) -> Result<()> {
        for fault in self.oracle.lock().await.faults().iter().take(50) {
            println!("  CONTRADICTION {fault}");
        }
        Ok(())
    }

    async fn rows(&self, report: &mut Report, ends: &verdict::Ends) {
        let mut o = self.oracle.lock().await;
        let full = o.check_room(&room::ROOM);
        let slots: usize = full.values().sum();
        let by: Vec<String> = full.iter().map(|(pool, n)| format!("{n} of {pool}")).collect();
        let (held, verified) = (o.held().len(), self.auditor.verified());
        let detail = format!("{verified} verified, {} of them asked for by plain wallets", self.auditor.wallets());
        let both = held > 0 && verified == held && self.auditor.wallets() > 0;
        report.add("promises held by clients", both, held as f64, "", detail);
        ends.rows(report);
        report.add("slots filled to their limit", slots > 0, slots as f64, "", by.join(", "));
        let checked = self.auditor.slots();
        report.add("completeness roots", checked > 0, checked as f64, "", "each covers exactly its slot's promises");
        let refusals: Vec<String> = o.refusals().iter().map(|(k, n)| format!("{n} {k}")).collect();
        let faults = o.faults().len();
        report.add("contradictions", faults == 0, faults as f64, "", format!("refused: {}", refusals.join(", ")));
        let honest = o.honest_counts();
        let detail = format!("of {} that had room and time, {} refused", honest.asked, honest.refused);
        report.add("honest requests to a ready host", honest.is_ok(), honest.won as f64, "", detail);
        let probes = probe_row(&self.probes);
        report.add("honest requests after a kill", probes.0, probes.1, "", probes.2);
        let slowest = self.returns.iter().max().copied().unwrap_or_default();
        let killed = self.returns.len();
        report.add(
            "kills survived",
            killed > 0,
            killed as f64,
            "",
            format!("slowest return {} ms", slowest.as_millis()),
        );
    }
}

/// All must have succeeded, and of twenty at most one later than [`SOON`].
fn probe_row(probes: &[Option<Duration>]) -> (bool, f64, String) {
    let done: Vec<Duration> = probes.iter().flatten().copied().collect();
    let late = done.iter().filter(|d| **d > SOON).count();
    let slowest = done.iter().max().copied().unwrap_or_default();
    let ok = !probes.is_empty() && done.len() == probes.len() && late * 20 <= probes.len();
    (
        ok,
        done.len() as f64,
        format!("of {}; slowest after {} ms, {late} after {SOON:?}", probes.len(), slowest.as_millis()),
    )
}

/// The control must have been caught, by what an early acknowledgement leads to and by nothing else.
fn judge_control(kinds: &BTreeMap<Kind, usize>, seed: u64) -> Result<Report> {
    let losses: usize = kinds.iter().filter(|(k, _)| k.is_loss()).map(|(_, n)| n).sum();
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
        let of = |kinds: &[Kind]| judge_control(&kinds.iter().map(|k| (*k, 1)).collect(), 1).is_ok();
        assert!(of(&[Kind::Double]) && of(&[Kind::Forgotten, Kind::Unready]) && of(&[Kind::Lost]));
        assert!(!of(&[]) && !of(&[Kind::Unready, Kind::Silent, Kind::Rig, Kind::Missed, Kind::Denied]));
    }

    #[test]
    fn a_host_that_never_serves_again_after_a_kill_or_mostly_late_is_not_ok() {
        let s = |n| Some(Duration::from_secs(n));
        assert!(probe_row(&[s(1), s(2)]).0);
        assert!(!probe_row(&[]).0 && !probe_row(&[s(1), None]).0 && !probe_row(&[s(1), s(6)]).0);
        let twenty: Vec<_> = (0..20).map(|i| s(if i == 7 { 9 } else { 1 })).collect();
        assert!(probe_row(&twenty).0);
    }
}
