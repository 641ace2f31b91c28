//! What each command does.

pub mod check;
pub mod init;
pub mod journal;
#[cfg(feature = "lab")]
pub mod lab;
pub mod preconf;
pub mod remote;
mod verify;
