//! The whole machine over a real journal and signer, with nodes and relays that do as they are told.
//! A kill is modelled by dropping everything and starting again from the same folder.

mod building;
pub(crate) mod fakes;
mod fates;
mod finality;
mod flow;
mod halted;
mod long_stop;
mod lost;
mod offers;
mod owed;
mod posting;
mod relays;
mod restart;
mod restored;
mod served_stop;
mod silence;
mod two_nodes;
mod vectors;
mod world;
