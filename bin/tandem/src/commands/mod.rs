//! What each command does.

pub mod check;
#[cfg(feature = "lab")]
mod devnet_account;
pub mod init;
pub mod journal;
#[cfg(feature = "lab")]
pub mod lab;
pub mod preconf;
pub mod remote;
mod verify;
