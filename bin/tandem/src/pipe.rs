//! A reader that stops early (`tandem check | head -1`) is no fault: who prints then ends quietly, as others do.
//!
//! Standard printing panics where nobody reads. So it is this panic that is told from all others: what was begun is
//! closed on the way out, as at any other end, and nothing is said of it.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook},
    process::ExitCode,
};

/// As shells know a program that SIGPIPE ended: no success, since nobody knows what was not said.
const ENDED: u8 = 128 + 13;

/// Runs to the end, or until somebody stops reading what is printed.
pub fn ends_quietly(work: impl FnOnce() -> ExitCode) -> ExitCode {
    let tell = take_hook();
    set_hook(Box::new(move |panic| {
        if !is_closed(panic.payload()) {
            tell(panic);
        }
    }));
    // Nothing of it is looked at afterwards.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(code) => code,
        Err(why) if is_closed(&*why) => ENDED.into(),
        Err(why) => resume_unwind(why),
    }
}

/// Whether a panic is standard printing's, about a reader that is gone.
fn is_closed(why: &(dyn Any + Send)) -> bool {
    let said = why.downcast_ref::<String>().map(String::as_str).or_else(|| why.downcast_ref::<&str>().copied());
    said.is_some_and(|s| s.starts_with("failed printing to std") && s.contains("Broken pipe"))
}
