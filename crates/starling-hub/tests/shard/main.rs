//! The hub as its users see it: scripted conversations on virtual time, over the memory engine and over a remote one
//! whose answers the test lets go.

mod access;
mod control;
mod conversation;
mod lifetime;
mod model;
mod observer;
mod presence;
mod recovery;
mod remote;
mod rig;
mod slow;
