//! The whole machine over a real journal and signer, with nodes and relays that do as they are told.
//! A kill is modelled by dropping everything and starting again from the same folder.

mod building;
mod fakes;
mod fates;
mod finality;
mod flow;
mod halted;
mod offers;
mod posting;
mod relays;
mod restart;
mod world;
