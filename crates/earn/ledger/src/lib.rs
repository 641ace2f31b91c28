//! The ledger: what each module charged, received, forwent and cost, in exact wei.
//!
//! - [`entry`]: one amount, named by (module, journal sequence number, kind)
//! - [`totals`]: sums of amounts and counts of fates, provisional and final apart
//! - [`ledger`]: [`Ledger`], which books entries and fates atomically
//! - [`forgone`]: what a slot forwent, shared among modules
//! - [`query`]: what `tandem ledger` and the endpoint show
//! - [`meter`]: the [`tandem_module::Meter`] port, buffered so that a promise never waits for it
//!
//! # Guarantees
//! - An entry is booked once, however often it is replayed after a crash: its name is its key.
//! - An entry, the fate it belongs to and every sum move in one transaction.
//! - What a reorg undoes moves back exactly. What is final does not change any more: a different
//!   value for it is an error, never a silent correction.
//! - What a module says that it charged is booked only where a record of this module's carries at least
//!   that price ([`Prices`]), and then it is the record's price. The rest is refused and counted.
//! - A disk that fails closes the file, and it is opened anew until it works again: what was not synced comes
//!   again as after a crash, once the keeper of the books sees [`Ledger::reopened`] rise.
//! - Amounts are integers. One that nobody has ([`entry::MOST`]) is left out and told ([`Ledger::left_out`]), as is
//!   one that contradicts a final one: whatever else there is to book is booked all the same. Sums of what is
//!   booked can not leave 256 bits then; one that does so in a damaged file stays at its end.
//!
//! # Not guaranteed
//! - A commit is atomic at once and on the disk at the next sync ([`Config::sync_ms`]); final fates are
//!   synced with their own. What a crash loses comes again: charges from the journal, replayed from
//!   [`Ledger::cursor`]; final fates from the journal's settled records, from [`Ledger::settled_below`]
//!   on; provisional fates when they are judged again.
//! - [`Kind::Cost`] is what was paid to somebody to keep a promise. Nothing that runs today pays
//!   anybody, no module has a wallet, so that no cost is booked and the reports say that instead of a zero
//!   (docs/adr/0009); the time that a machine computed is no amount of wei and is not turned into one.
//! - What was charged is what was accepted, promise by promise. Who lets one transaction be promised for
//!   two slots accepts two prices; the tip that pays them is received once.
//! - The ledger is a record of money, not the record of promises. That is the journal.
//!
//! # Example
//! ```
//! # use std::sync::Arc;
//! # use tandem_ledger::{Config, Entry, Ledger, Price, Prices};
//! # struct Journal;
//! # impl Prices for Journal {
//! #     fn price(&self, _: &tandem_types::ModuleId, seq: u64) -> Option<Price> {
//! #         (seq == 7).then(|| Price { slot: None, at_ms: 0, wei: alloy_primitives::U256::from(1000) })
//! #     }
//! # }
//! # let dir = tempfile::tempdir()?;
//! let ledger = Ledger::open(&dir.path().join("ledger"), 1, &Config::default())?;
//! let meter = ledger.meter("preconf".parse()?, Arc::new(Journal));
//! meter.charged(7, "1000".parse()?);
//! // What has no record is refused.
//! meter.charged(8, "1000".parse()?);
//! // After a crash the journal is replayed: the same charge is not booked again.
//! ledger.sync()?;
//! ledger.book(vec![Entry::charged("preconf".parse()?, 7, None, 0, "1000".parse()?)])?;
//! assert_eq!(ledger.report(1_795_305_600_000, 1)?.total.total()?.promises, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod batch;
pub mod config;
pub mod entry;
pub mod error;
mod file;
pub mod forgone;
pub mod ledger;
pub mod meter;
pub mod query;
mod store;
pub mod totals;

pub use config::Config;
pub use entry::{Entry, Kind, OwnBlock, Settlement, effective_tip};
pub use error::LedgerError;
pub use file::Opener;
pub use forgone::Forgone;
pub use ledger::{Booked, Fault, Ledger};
pub use meter::{Price, Prices};
pub use query::{DayReport, Report, SlotReport};
pub use totals::{Account, Totals};
