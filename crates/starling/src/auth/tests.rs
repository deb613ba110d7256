//! The module from outside: tokens of every kind, key sets that rotate, tickets, and the front door.

mod doorway;
mod key_sets;
mod refused_tokens;
mod signing;
mod tickets;

/// The moment at which all of this happens, in Unix seconds.
const NOW_S: u64 = 1_800_000_000;

/// The same in milliseconds.
const NOW: u64 = NOW_S * 1000;
