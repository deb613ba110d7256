//! What this engine stores and sends, beside the words of the core.

mod asked;
mod records;

pub(crate) use asked::Asked;
pub(crate) use records::{Act, Ordered, Seen, Stamp};
pub(crate) use starling_wire::{Foreign, Wire, fields, variants};
