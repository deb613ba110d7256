//! Presence entries and differences, which scripts in Redis write: MessagePack, as `cmsgpack` does.

use rmp::Marker;
use rmp::decode::{read_array_len, read_marker};
use starling_core::{ConnectionId, NodeId, PresenceDiff, PresenceEntry, RawJson, UserId};

use super::Unreadable;

/// A change of presence, as it was published.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    pub version: u64,
    /// The node that asked for it, or noticed that it was due.
    pub origin: NodeId,
    /// By which that node finds what it asked.
    pub token: u64,
    pub diff: PresenceDiff,
}

type Input<'a> = &'a [u8];

/// `{version, node, token, joins, leaves, replaced, users_in, users_out}`
pub(crate) fn decode_told(mut input: &[u8]) -> Result<Told, Unreadable> {
    let input = &mut input;
    if list_len(input)? != 8 {
        return Err(Unreadable::Foreign);
    }
    let version = number(input)?;
    let origin = NodeId::new(text(input)?);
    let token = number(input)?;
    let diff = PresenceDiff {
        joins: list(input, entry)?,
        leaves: list(input, entry)?,
        replaced: list(input, entry)?,
        users_in: list(input, |input| text(input).map(UserId::new))?,
        users_out: list(input, |input| text(input).map(UserId::new))?,
    };
    Ok(Told { version, origin, token, diff })
}

/// `{connection, user or false, data, revision}`
fn entry(input: &mut Input<'_>) -> Result<PresenceEntry, Unreadable> {
    if list_len(input)? != 4 {
        return Err(Unreadable::Foreign);
    }
    Ok(PresenceEntry {
        connection: ConnectionId::new(text(input)?),
        user: optional(input)?.map(UserId::new),
        data: RawJson::from_valid(text(input)?.to_owned()),
        revision: number(input)?,
    })
}

/// What is kept of a connection: `{user or false, owner, revision, until, data, aliases}`.
pub(crate) fn decode_entry(connection: &str, mut input: &[u8]) -> Result<PresenceEntry, Unreadable> {
    let input = &mut input;
    if list_len(input)? != 6 {
        return Err(Unreadable::Foreign);
    }
    let user = optional(input)?.map(UserId::new);
    let _owner = text(input)?;
    let revision = number(input)?;
    let _until = number(input)?;
    let data = RawJson::from_valid(text(input)?.to_owned());
    Ok(PresenceEntry { user, connection: ConnectionId::new(connection), data, revision })
}

/// An array; an empty table of Lua may also be written as an empty map.
fn list_len(input: &mut Input<'_>) -> Result<usize, Unreadable> {
    if input.first() == Some(&Marker::FixMap(0).to_u8()) {
        *input = &input[1..];
        return Ok(0);
    }
    let len = read_array_len(input).map_err(|_| Unreadable::Foreign)? as usize;
    // Each item has at least one byte.
    if len > input.len() { Err(Unreadable::Foreign) } else { Ok(len) }
}

fn list<T>(
    input: &mut Input<'_>,
    item: impl Fn(&mut Input<'_>) -> Result<T, Unreadable>,
) -> Result<Vec<T>, Unreadable> {
    (0..list_len(input)?).map(|_| item(input)).collect()
}

/// A string, or `false`.
fn optional<'a>(input: &mut Input<'a>) -> Result<Option<&'a str>, Unreadable> {
    if input.first() == Some(&Marker::False.to_u8()) {
        *input = &input[1..];
        return Ok(None);
    }
    text(input).map(Some)
}

fn text<'a>(input: &mut Input<'a>) -> Result<&'a str, Unreadable> {
    let len = match read_marker(input).map_err(|_| Unreadable::Foreign)? {
        Marker::FixStr(len) => usize::from(len),
        Marker::Str8 | Marker::Bin8 => big_endian(input, 1)?,
        Marker::Str16 | Marker::Bin16 => big_endian(input, 2)?,
        Marker::Str32 | Marker::Bin32 => big_endian(input, 4)?,
        _ => return Err(Unreadable::Foreign),
    };
    std::str::from_utf8(take(input, len)?).map_err(|_| Unreadable::Foreign)
}

/// Numbers that must not lose digits are written as text, because Lua's are floating-point.
fn number(input: &mut Input<'_>) -> Result<u64, Unreadable> {
    text(input)?.parse().map_err(|_| Unreadable::Foreign)
}

fn big_endian(input: &mut Input<'_>, count: usize) -> Result<usize, Unreadable> {
    Ok(take(input, count)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

fn take<'a>(input: &mut Input<'a>, count: usize) -> Result<&'a [u8], Unreadable> {
    if count > input.len() {
        return Err(Unreadable::Foreign);
    }
    let (taken, rest) = input.split_at(count);
    *input = rest;
    Ok(taken)
}
