//! A message, as it is kept in a log and published.

use bytes::Bytes;
use starling_core::{
    AppId, ChannelName, ConnectionId, DEFAULT_EVENT, Message, MessageId, Payload, Position, RawJson, UserId,
};

use super::bytes::{Reader, Writer};
use super::{Unreadable, VERSION};

const JSON: u8 = 0;
const BINARY: u8 = 1;

/// Everything but the app, the channel and the position, which are known from where it is found.
pub(crate) fn encode_body(message: &Message, writer: &mut Writer) {
    let payload: &[u8] = match &message.payload {
        Payload::Json(json) => json.bytes(),
        Payload::Binary(bytes) => bytes,
    };
    writer.0.reserve(payload.len() + 64);
    writer.byte(VERSION);
    writer.byte(if matches!(message.payload, Payload::Json(_)) { JSON } else { BINARY });
    writer.number(message.ts);
    writer.text(message.id.as_str());
    writer.optional((&*message.event != DEFAULT_EVENT).then_some(&*message.event));
    writer.optional(message.user.as_ref().map(UserId::as_str));
    writer.optional(message.key.as_deref());
    writer.optional(message.exclude.as_ref().map(ConnectionId::as_str));
    writer.0.extend_from_slice(payload);
}

/// Reads what [`encode_body`] wrote.
pub(crate) fn decode_body(
    app: &AppId,
    channel: &ChannelName,
    position: Option<Position>,
    body: Bytes,
) -> Result<Message, Unreadable> {
    let mut reader = Reader::new(body);
    match reader.byte()? {
        VERSION => {}
        other => return Err(Unreadable::Version(other)),
    }
    let kind = reader.byte()?;
    let ts = reader.number()?;
    let id = MessageId::new(reader.text()?);
    let event = reader.optional()?.map_or_else(|| DEFAULT_EVENT.into(), Into::into);
    let user = reader.optional()?.map(UserId::new);
    let key = reader.optional()?.map(Into::into);
    let exclude = reader.optional()?.map(ConnectionId::new);
    let payload = reader.rest();
    let payload = match kind {
        JSON if std::str::from_utf8(&payload).is_ok() => Payload::Json(RawJson::from_valid(payload)),
        BINARY => Payload::Binary(payload),
        _ => return Err(Unreadable::Foreign),
    };
    Ok(Message { app: app.clone(), channel: channel.clone(), id, event, payload, user, ts, position, key, exclude })
}
