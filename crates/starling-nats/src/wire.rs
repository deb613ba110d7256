//! What this engine stores and sends, beside the words of the core.

mod acts;
mod records;

pub(crate) use acts::{Asked, Order};
pub(crate) use records::{Record, Stored, UserRecord};
pub(crate) use starling_wire::{Wire, fields, variants};
