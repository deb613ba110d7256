//! Orders to all nodes.

use starling_core::{ChannelName, ConnectionId, Control, Epoch, Payload, Position, RawJson, Target, UserId};

use super::Unreadable;
use super::bytes::{Reader, Writer};

pub(super) fn encode(control: &Control, writer: &mut Writer) {
    match control {
        Control::Disconnect { target } => {
            writer.byte(1);
            encode_target(target, writer);
        }
        Control::Revoke { user, before } => {
            writer.byte(2);
            writer.text(user.as_str());
            writer.number(*before);
        }
        Control::Subscribe { target, channel } => {
            writer.byte(3);
            encode_target(target, writer);
            writer.text(channel.as_str());
        }
        Control::Unsubscribe { target, channel } => {
            writer.byte(4);
            encode_target(target, writer);
            writer.text(channel.as_str());
        }
        Control::Emit { target, channel, event, payload } => {
            writer.byte(5);
            encode_target(target, writer);
            writer.optional(channel.as_ref().map(ChannelName::as_str));
            writer.text(event);
            match payload {
                Payload::Json(json) => {
                    writer.byte(0);
                    writer.bytes(json.bytes());
                }
                Payload::Binary(bytes) => {
                    writer.byte(1);
                    writer.bytes(bytes);
                }
            }
        }
        Control::HistoryCleared { channel, head } => {
            writer.byte(6);
            writer.text(channel.as_str());
            writer.text(head.epoch.as_str());
            writer.number(head.offset);
        }
    }
}

pub(super) fn decode(reader: &mut Reader) -> Result<Control, Unreadable> {
    match reader.byte()? {
        1 => Ok(Control::Disconnect { target: decode_target(reader)? }),
        2 => Ok(Control::Revoke { user: UserId::new(reader.text()?), before: reader.number()? }),
        3 => Ok(Control::Subscribe { target: decode_target(reader)?, channel: channel(reader)? }),
        4 => Ok(Control::Unsubscribe { target: decode_target(reader)?, channel: channel(reader)? }),
        5 => {
            let target = decode_target(reader)?;
            let channel = reader.optional()?.map(|name| parse(&name)).transpose()?;
            let event = reader.text()?.into();
            let (kind, payload) = (reader.byte()?, reader.bytes()?);
            let payload = match kind {
                0 if std::str::from_utf8(&payload).is_ok() => Payload::Json(RawJson::from_valid(payload)),
                1 => Payload::Binary(payload),
                _ => return Err(Unreadable::Foreign),
            };
            Ok(Control::Emit { target, channel, event, payload })
        }
        6 => {
            let channel = channel(reader)?;
            let head = Position { epoch: Epoch::new(reader.text()?), offset: reader.number()? };
            Ok(Control::HistoryCleared { channel, head })
        }
        _ => Err(Unreadable::Foreign),
    }
}

pub(super) fn encode_target(target: &Target, writer: &mut Writer) {
    match target {
        Target::Connection(connection) => {
            writer.byte(1);
            writer.text(connection.as_str());
        }
        Target::User(user) => {
            writer.byte(2);
            writer.text(user.as_str());
        }
        Target::Members { of, except, except_connections } => {
            writer.byte(3);
            writer.list(of, |channel, writer| writer.text(channel.as_str()));
            writer.list(except, |channel, writer| writer.text(channel.as_str()));
            writer.list(except_connections, |connection, writer| writer.text(connection.as_str()));
        }
    }
}

pub(super) fn decode_target(reader: &mut Reader) -> Result<Target, Unreadable> {
    match reader.byte()? {
        1 => Ok(Target::Connection(ConnectionId::new(reader.text()?))),
        2 => Ok(Target::User(UserId::new(reader.text()?))),
        3 => Ok(Target::Members {
            of: reader.list(channel)?,
            except: reader.list(channel)?,
            except_connections: reader.list(|reader| reader.text().map(ConnectionId::new))?,
        }),
        _ => Err(Unreadable::Foreign),
    }
}

pub(super) fn channel(reader: &mut Reader) -> Result<ChannelName, Unreadable> {
    parse(&reader.text()?)
}

fn parse(name: &str) -> Result<ChannelName, Unreadable> {
    ChannelName::parse(name).map_err(|_| Unreadable::Foreign)
}
