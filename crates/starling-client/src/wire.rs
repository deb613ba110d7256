//! The native protocol as a client writes and reads it (section 5 of the contract), in either of its encodings.

mod incoming;
mod outgoing;

pub(crate) use incoming::{Answer, Incoming};
pub(crate) use outgoing::Fields;
