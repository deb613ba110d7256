//! Presence in the shape that the official `Presence` class reads.
//!
//! `{KEY: {"metas": [{…, "phx_ref"}]}}`: a key is a user (or an anonymous connection), a meta one of its connections. A
//! `phx_ref` names one state of one meta: the class removes what `leaves` names and adds what is new in `joins`, so an
//! update is the old meta in `leaves` and the new one, with `phx_ref_prev`, in `joins`.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use starling_core::{ConnectionId, PresenceDiff, PresenceEntry};

use crate::json_text::write_text;

/// A `phx_ref`: 12 bytes in base64, as a real server's.
type Ref = [u8; 16];

/// One connection of a key, in one state.
struct Meta<'a> {
    entry: &'a PresenceEntry,
    phx_ref: Ref,
    /// That of the state which this one replaces.
    previous: Option<Ref>,
}

/// Appends who is present, without one connection: one that is to see itself join.
pub(super) fn write_state(out: &mut Vec<u8>, members: &[PresenceEntry], without: Option<&ConnectionId>) {
    let members = members.iter().filter(|entry| Some(&entry.connection) != without);
    write_keys(out, members.map(|entry| meta(entry, None)));
}

/// Appends who came and who went.
pub(super) fn write_diff(out: &mut Vec<u8>, diff: &PresenceDiff) {
    let replaced_by = |entry: &PresenceEntry| diff.replaced.iter().find(|old| old.connection == entry.connection);
    out.extend_from_slice(b"{\"joins\":");
    write_keys(out, diff.joins.iter().map(|entry| meta(entry, replaced_by(entry))));
    out.extend_from_slice(b",\"leaves\":");
    // What clients know of those who left is what was replaced meanwhile, if anything was.
    let left = diff.leaves.iter().filter(|entry| replaced_by(entry).is_none());
    write_keys(out, diff.replaced.iter().chain(left).map(|entry| meta(entry, None)));
    out.push(b'}');
}

/// Appends one connection's join, alone.
pub(super) fn write_join(out: &mut Vec<u8>, entry: &PresenceEntry) {
    out.extend_from_slice(b"{\"joins\":");
    write_keys(out, std::iter::once(meta(entry, None)));
    out.extend_from_slice(b",\"leaves\":{}}");
}

fn meta<'a>(entry: &'a PresenceEntry, replaced: Option<&PresenceEntry>) -> Meta<'a> {
    Meta { entry, phx_ref: phx_ref(entry), previous: replaced.map(phx_ref) }
}

/// The user, or the connection of nobody.
fn key(entry: &PresenceEntry) -> &str {
    entry.user.as_ref().map_or_else(|| entry.connection.as_str(), |user| user.as_str())
}

/// Names a state of an entry: by its revision, and by its connection, because revisions start again with an engine.
fn phx_ref(entry: &PresenceEntry) -> Ref {
    // FNV-1a: it only has to tell connections of one user apart, which none of them chooses.
    let hash = entry
        .connection
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut bytes = [0; 12];
    bytes[..6].copy_from_slice(&entry.revision.to_be_bytes()[2..]);
    bytes[6..].copy_from_slice(&hash.to_be_bytes()[2..]);
    let mut text = [0; 16];
    URL_SAFE_NO_PAD.encode_slice(bytes, &mut text).expect("12 bytes are 16 characters");
    text
}

fn write_keys<'a>(out: &mut Vec<u8>, metas: impl Iterator<Item = Meta<'a>>) {
    let mut keys: Vec<(&str, Vec<Meta<'a>>)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for meta in metas {
        let key = key(meta.entry);
        let at = *places.entry(key).or_insert_with(|| {
            keys.push((key, Vec::new()));
            keys.len() - 1
        });
        keys[at].1.push(meta);
    }
    out.push(b'{');
    for (at, (key, metas)) in keys.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_text(out, key);
        out.extend_from_slice(b":{\"metas\":[");
        for (at, meta) in metas.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write_one(out, meta);
        }
        out.extend_from_slice(b"]}");
    }
    out.push(b'}');
}

/// The members of the entry's data, and behind them its references: of two members with one name, the last counts.
fn write_one(out: &mut Vec<u8>, meta: &Meta<'_>) {
    let data = meta.entry.data.as_str().trim_ascii();
    let members = data.strip_prefix('{').and_then(|data| data.strip_suffix('}')).unwrap_or_default().trim_ascii();
    out.push(b'{');
    out.extend_from_slice(members.as_bytes());
    if !members.is_empty() {
        out.push(b',');
    }
    out.extend_from_slice(b"\"phx_ref\":\"");
    out.extend_from_slice(&meta.phx_ref);
    if let Some(previous) = &meta.previous {
        out.extend_from_slice(b"\",\"phx_ref_prev\":\"");
        out.extend_from_slice(previous);
    }
    out.extend_from_slice(b"\"}");
}
