//! Pusher Channels, protocol 5 to 7, as the official clients speak it.
//!
//! Channel names keep Pusher's rules: `private-`, `private-encrypted-` and `presence-` want a signature of the app's
//! secret, which the session checks itself; `cache-` names give their last event to whoever subscribes. A user's own
//! channel is `#server-to-user-U` here and `#user:U` inside. Who is signed in is present in the reserved channel
//! `#online:U`, which is what watchlists follow; members of a channel who want to know how many they are follow
//! `#count:CHANNEL`.
//!
//! Decisions where Pusher's documentation is silent or the hub knows more:
//!
//! - `data` of errors is an object, all other `data` a string of JSON text. Bytes are the JSON text of a base64 string.
//! - A refused subscription is told twice: by `pusher:error`, as the real service does, and by
//!   `pusher:subscription_error`, which clients hand to the channel.
//! - Messages that were left out for a slow client are told as `starling:gap` with `{"missed":N}`.
//! - After a loss of the engine a presence channel gets a new `subscription_succeeded` with everyone who is there.
//! - Messages whose event is one of the protocol's own (`pusher:…`, `pusher_internal:…`) are not passed on.
//! - Whoever is present without a user id goes by the id of its connection.

mod app;
mod codec;
pub mod codes;
mod encode;
mod names;
mod session;
mod turned_away;
mod wire;

use starling_core::Protocol;

pub use app::{App, AppSettings, DEFAULT_MAX_CHANNEL_NAME, DEFAULT_MAX_PAYLOAD, LiveApp, sign};
pub use codec::{InvalidData, MAX_DEPTH, payload, payload_of_text};
pub use encode::encode;
pub use names::{
    CACHE_PREFIXES, InvalidName, Kind, PRESENCE_PREFIX, channel, is_cache, is_reserved_event, is_socket_id,
};
pub use session::PusherSession;
pub use turned_away::TurnedAway;

/// The name of the protocol.
pub const PROTOCOL: Protocol = Protocol("pusher");
/// The versions of the protocol that are spoken.
pub const VERSIONS: std::ops::RangeInclusive<u32> = 5..=7;
/// The longest name of an event, in bytes.
pub const MAX_EVENT_NAME: usize = 200;
/// The longest id of a user, in bytes.
pub const MAX_USER_ID: usize = 128;
/// Users in a watchlist at most.
pub const MAX_WATCHLIST: usize = 100;

/// As much of a text as fits into a close frame.
fn close_text(text: &str) -> String {
    let mut end = text.len().min(120);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
