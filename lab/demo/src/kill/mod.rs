//! The kill loop: clients hammer a real host while it is killed at random moments.
//!
//! The judge ([`oracle`], [`audit`], [`verdict`]) knows only what clients received and what the chain
//! shows. Kill moments, and what each client asks for by which sender, come from a seed that is printed;
//! how they interleave is the machine's.
//!
//! # What must hold
//! - No nonce is promised to two transactions, no slot's promises exceed its room in any resource, no sender's
//!   its money; each resource was used up in at least one slot.
//! - Every promise is for what was asked, signed by the committer that the slot's proposer delegated, in
//!   both dialects; delegations never change; a slot's completeness root covers all its promises.
//! - Every promise, asked for again after kills, when its slot is over and at the end, is answered with
//!   the same bytes. What was not answered gets its promise, or a refusal for which clients see the reason.
//! - Every promise is in its slot's block. Only a kill between header and publication excuses.
//! - No relay is given two constraints messages for one slot.
//! - Slots become final, and what the host tells of them is what the chain shows; the journal begins and
//!   removes segments meanwhile.
//! - A host that is killed again while it recovers is as good as one that was not.
//! - After each kill an honest request succeeds, mostly within `SOON`, always within half a minute.

mod again;
pub mod audit;
pub mod clients;
mod control;
pub mod disk;
pub mod moment;
pub mod oracle;
pub mod proof;
pub mod room;
mod rows;
pub mod settled;
mod told;
pub mod verdict;
pub mod wants;

use crate::{
    process::Host,
    report::Report,
    rig::{Rig, RigConfig, now_ms},
};
use anyhow::{Result, bail};
use audit::Auditor;
use clients::Crowd;
use disk::Segments;
use moment::Moments;
use oracle::{Kill, Kind, Oracle, Terms};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rows::{full_row, probe_row, roots_row};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tandem_devnet::{consensus::FinalityConfig, execution::dev_account};
use tandem_testkit::{Behaviour, Relay, RelayConfig, Wallet};
use tandem_types::Wei;
use tokio::sync::Mutex;
use verdict::Seen;

/// Wall milliseconds of a slot: mainnet's. A restart takes well under an eighth of it, so that a promise
/// is kept whenever the kill comes.
const SLOT_MS: u64 = 12_000;
/// Rounds after which it is told how far the loop is.
const TELL_EVERY: u32 = 20;
/// Of so many kills one is followed by another while the host starts.
const AGAIN: u32 = 4;
/// When that one comes, in milliseconds from the start: most are ready later.
const STARTING_MS: u64 = 150;
/// Slots until a block is final: enough that a slot that is over is looked at before.
const FINAL_AFTER: u64 = 6;
/// Rounds from which on everything must have been seen: each resource used up, a blob kept across a kill, slots
/// settled, segments begun. Fewer end before a slot is final.
const WHOLE: u32 = 100;

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
    /// Where the table goes as JSON.
    pub report: Option<PathBuf>,
}

/// Runs the loop and prints its table.
///
/// # Errors
/// If the host does not come back, or a contradiction was found; with the seed and the command that
/// replays it.
pub async fn run(options: &Options) -> Result<Report> {
    println!("kill loop: {} rounds, seed {}", options.rounds, options.seed);
    let mut rig = Rig::start(rig_config(options)?).await?;
    let relay = start_relay(&rig, options.seed).await?;
    let mut host = start_host(&mut rig, &relay, options).await?;
    let terms = Terms { room: room::ROOM, clock: rig.clock() };
    let oracle = Arc::new(Mutex::new(Oracle::with(terms)));
    let crowd = Crowd::start(&rig, &host.gateway, Arc::clone(&oracle), options.seed, options.rounds)?;
    let mut run = Run {
        auditor: Auditor::new(&rig, &host.gateway, Arc::clone(&oracle)),
        relay,
        seen: Seen::default(),
        oracle,
        returns: Vec::new(),
        moments: Moments::default(),
        in_recovery: 0,
        probes: Vec::new(),
        checked: 0,
    };
    let mut report = Report::default();
    let done = run.all(&rig, &mut host, &crowd, options, &mut report).await;
    let kinds = run.oracle.lock().await.kinds().clone();
    drop(run);
    host.stop()?;
    rig.stop().await;
    if options.break_write {
        report = control::judge(&kinds, &done);
    } else if let Err(e) = &done {
        report.add("the loop came to its table", false, 0.0, "", format!("{e:#}"));
    }
    if let Some(file) = &options.report {
        report.write(file)?;
    }
    if !options.break_write {
        done?;
    }
    print!("{}", report.table());
    if !report.is_ok() {
        let control = if options.break_write { " --break-write" } else { "" };
        bail!("replay with: tandem lab kill-loop --rounds {} --seed {}{control}", options.rounds, options.seed);
    }
    Ok(report)
}

fn rig_config(options: &Options) -> Result<RigConfig> {
    let purse = |index| -> Result<_> {
        let address = Wallet::new(dev_account(index), tandem_devnet::Config::default().chain_id)?.address();
        Ok((address, Wei::from(wants::POOR_WEI)))
    };
    Ok(RigConfig {
        slot_ms: SLOT_MS,
        seed: options.seed,
        accounts: clients::accounts(options.rounds),
        finality: FinalityConfig { lag_slots: FINAL_AFTER, step_slots: 1 },
        purses: clients::poor(options.rounds).map(purse).collect::<Result<_>>()?,
        ..RigConfig::default()
    })
}

/// An honest relay that takes constraints.
async fn start_relay(rig: &Rig, seed: u64) -> Result<Relay> {
    let config = RelayConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        execution: rig.execution().to_owned(),
        beacon: rig.beacon().to_owned(),
        genesis_fork_version: rig.genesis_fork_version(),
        chain_id: rig.chain_id(),
        seed,
        constraints: true,
        behaviour: Behaviour::default(),
    };
    Relay::start(config).await
}

async fn start_host(rig: &mut Rig, relay: &Relay, options: &Options) -> Result<Host> {
    let relays = [format!("{}+constraints", relay.url())];
    let mut host = rig.add_host(&options.binary, "host", 0..rig.validators(), "prysm", &relays).await?;
    // With writes that come late a new segment would be an empty file for a while: a kill then leaves what no
    // host starts from, and the control is to show lost promises.
    room::narrow(&host.dir.join("tandem.toml"), rig, !options.break_write)?;
    if options.break_write {
        host.flag("--lab-ack-before-write");
    }
    host.flag("--first-use");
    host.start()?;
    host.ready(Duration::from_secs(30)).await?;
    host.without_flag("--first-use");
    rig.connect(&host).await?;
    if !options.break_write {
        Segments::first_is_full(&host.dir).await?;
        room::widen_segments(&host.dir.join("tandem.toml"))?;
    }
    Ok(host)
}

/// A run under way.
struct Run<'a> {
    auditor: Auditor<'a>,
    relay: Relay,
    seen: Seen,
    oracle: Arc<Mutex<Oracle>>,
    /// From each kill until the host was ready.
    returns: Vec<Duration>,
    moments: Moments,
    /// Kills that met a host as it started.
    in_recovery: u32,
    /// From each kill until an honest request succeeded.
    probes: Vec<Option<Duration>>,
    /// Slots before this one were looked at.
    checked: u64,
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
            tokio::time::sleep(Duration::from_millis(rng.random_range(20..900))).await;
            let spared = moment::spared(&rig.clock(), now_ms(), &self.returns);
            tokio::time::sleep(spared).await;
            self.moments.note(&rig.clock(), now_ms(), spared);
            self.one_round(host, crowd, options, &mut rng).await?;
            self.auditor.after_kill(crowd).await?;
            let over = rig.slot_now().saturating_sub(1);
            if over > self.checked {
                self.checked = over;
                self.auditor.slots_before(over).await?;
                self.seen.decisions(rig).await?;
            }
            self.look_at_relay().await;
            if round % TELL_EVERY == 0 || round == options.rounds {
                self.tell(round).await;
            }
            if self.is_decided(options).await {
                break;
            }
        }
        crowd.stop().await;
        // A control that was caught needs no more; anything else is looked at to the end.
        if options.break_write && self.is_decided(options).await {
            return self.print_faults().await;
        }
        self.auditor.close(crowd).await?;
        let last = self.oracle.lock().await.held().iter().map(|h| h.asked.slot).max().unwrap_or(0);
        rig.wait_for_slot(last + 2).await?;
        self.auditor.slots_before(u64::MAX).await?;
        self.look_at_relay().await;
        let ends = verdict::judge(rig, &self.oracle, &mut self.seen).await?;
        let settled = settled::check(rig, &host.gateway, &self.oracle, &ends).await?;
        let segments = Segments::of(&host.dir)?;
        self.rows(report, &ends, options.rounds).await;
        self.rows_of_time(report, settled, options.rounds >= WHOLE).await;
        segments.rows(report, options.rounds, options.rounds >= WHOLE);
        self.print_faults().await
    }

    /// Whether further rounds can change the verdict. A control goes on until a lost promise shows: what it lost
    /// may show first as something else, which proves less.
    async fn is_decided(&self, options: &Options) -> bool {
        let oracle = self.oracle.lock().await;
        if options.break_write { control::is_caught(oracle.kinds()) } else { !oracle.faults().is_empty() }
    }

    /// A relay keeps the first message of a slot, and notes where it was given another one.
    async fn look_at_relay(&self) {
        for slot in self.relay.slots().contradicted {
            let what = format!("slot {slot}: the relay was given two different messages");
            self.oracle.lock().await.fault(Kind::Constraints, what);
        }
    }

    /// Kills, and tells the oracle when: whoever had no answer until then had none for that.
    async fn kill(&self, host: &mut Host) -> Result<()> {
        let from_ms = now_ms();
        host.kill()?;
        let kill = Kill { from_ms, gone_ms: now_ms() };
        self.oracle.lock().await.killed(kill);
        Ok(())
    }

    async fn one_round(
        &mut self,
        host: &mut Host,
        crowd: &Crowd,
        options: &Options,
        rng: &mut ChaCha8Rng,
    ) -> Result<()> {
        if options.break_write {
            // Each start writes the newest segment again, and with late writes it is an empty file for a while. No
            // host starts from what a kill then leaves, and that would say nothing of promises.
            Segments::newest_is_written(&host.dir).await?;
        }
        crowd.host_is_up(false);
        let begin = Instant::now();
        self.kill(host).await?;
        host.start()?;
        if !options.break_write && rng.random_ratio(1, AGAIN) {
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..STARTING_MS))).await;
            self.in_recovery += u32::from(!host.is_ready().await);
            self.kill(host).await?;
            host.start()?;
        }
        host.ready(Duration::from_secs(30)).await?;
        self.returns.push(begin.elapsed());
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

    async fn rows(&self, report: &mut Report, ends: &verdict::Ends, rounds: u32) {
        let whole = rounds >= WHOLE;
        let mut o = self.oracle.lock().await;
        let full = o.check_room(&room::ROOM);
        let (held, verified) = (o.held().len(), self.auditor.verified());
        let detail = format!("{verified} verified, {} of them asked for by plain wallets", self.auditor.wallets());
        let both = held > 0 && verified == held && self.auditor.wallets() > 0;
        report.add("promises held by clients", both, held as f64, "", detail);
        ends.rows(report, whole);
        let full = full_row(&full, o.penniless(), whole);
        report.add("slots filled to their limit", full.0, full.1, "", full.2);
        let roots = roots_row(self.auditor.roots(), whole);
        report.add("completeness roots", roots.0, roots.1, "", roots.2);
        let refusals: Vec<String> = o.refusals().iter().map(|(k, n)| format!("{n} {k}")).collect();
        let faults = o.faults().len();
        let first = o.faults().first().map(|f| format!("first: {f}; ")).unwrap_or_default();
        let told = format!("{first}refused: {}", refusals.join(", "));
        report.add("contradictions", faults == 0, faults as f64, "", told);
        let honest = o.honest_counts();
        let detail = format!("of {} that had room and time, {} refused", honest.asked, honest.refused);
        report.add("honest requests to a ready host", honest.is_ok(), honest.won as f64, "", detail);
        let probes = probe_row(&self.probes);
        report.add("honest requests after a kill", probes.0, probes.1, "", probes.2);
        let slowest = self.returns.iter().max().copied().unwrap_or_default();
        let killed = self.returns.len();
        let detail = format!("slowest return {} ms", slowest.as_millis());
        report.add("kills survived", killed == rounds as usize, killed as f64, "", detail);
        let again = self.in_recovery;
        report.add("kills as the host starts", again > 0 || !whole, f64::from(again), "", "before it was ready");
        let (ok, at_the_door, detail) = self.moments.row(whole);
        report.add("kills between cut-off and header", ok, at_the_door, "", detail);
    }

    /// What a host does as slots pass, and what a kill could meet it at.
    async fn rows_of_time(&self, report: &mut Report, settled: usize, whole: bool) {
        let seen = self.relay.slots();
        let told = seen.constrained.len();
        let (others, taken) = (seen.contradicted.len(), seen.taken.len());
        let detail = format!("one each, {others} with another; {taken} of its blocks taken");
        let ok = seen.contradicted.is_empty() && (told > 0 || !whole);
        report.add("slots constrained at a relay", ok, told as f64, "", detail);
        let o = self.oracle.lock().await;
        let expired = o.refusals().get("expired").copied().unwrap_or_default();
        let detail = format!("with the fates that the chain shows; {expired} asked for again and told as expired");
        report.add("slots settled", settled > 0 || !whole, settled as f64, "", detail);
    }
}
