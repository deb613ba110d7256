//! Messages, and who is present.

use bytes::Bytes;
use starling_core::{Message, Payload, PresenceDiff, PresenceEntry, RawJson};

use crate::{Foreign, Wire, fields};

fields! {
    PresenceEntry { user, connection, data, revision }
    PresenceDiff { joins, leaves, replaced, users_in, users_out }
}

impl Wire for Message {
    fn write(&self, out: &mut Vec<u8>) {
        self.app.write(out);
        self.channel.write(out);
        self.id.write(out);
        self.event.write(out);
        self.payload.write(out);
        self.user.write(out);
        self.ts.write(out);
        self.key.write(out);
        self.exclude.write(out);
    }

    fn read(input: &mut Bytes) -> Result<Self, Foreign> {
        Ok(Self {
            app: Wire::read(input)?,
            channel: Wire::read(input)?,
            id: Wire::read(input)?,
            event: Wire::read(input)?,
            payload: Wire::read(input)?,
            user: Wire::read(input)?,
            ts: Wire::read(input)?,
            key: Wire::read(input)?,
            exclude: Wire::read(input)?,
            position: None,
        })
    }
}

impl Wire for Payload {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Json(json) => {
                out.push(0);
                json.write(out);
            }
            Self::Binary(bytes) => {
                out.push(1);
                bytes.write(out);
            }
        }
    }

    fn read(input: &mut Bytes) -> Result<Self, Foreign> {
        match u8::read(input)? {
            0 => Ok(Self::Json(RawJson::read(input)?)),
            // Copied, so that a small payload does not keep a whole record in memory.
            1 => Ok(Self::Binary(Bytes::copy_from_slice(&Bytes::read(input)?))),
            _ => Err(Foreign),
        }
    }
}

impl Wire for RawJson {
    fn write(&self, out: &mut Vec<u8>) {
        self.bytes().write(out);
    }

    fn read(input: &mut Bytes) -> Result<Self, Foreign> {
        let text = Bytes::read(input)?;
        std::str::from_utf8(&text).map_err(|_| Foreign)?;
        Ok(Self::from_valid(Bytes::copy_from_slice(&text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use starling_core::{AppId, ChannelName, ConnectionId, MessageId, UserId};

    #[test]
    fn messages_come_back_as_they_were_and_cut_ones_are_foreign() {
        for payload in [Payload::Binary(vec![0, 255].into()), Payload::Json(RawJson::parse("[1.50]").unwrap())] {
            let message = Message {
                app: AppId::from("1"),
                channel: ChannelName::parse("日本").unwrap(),
                id: MessageId::from("m"),
                event: "é".into(),
                payload,
                user: Some(UserId::from("ann")),
                ts: u64::MAX,
                position: None,
                key: Some("k".into()),
                exclude: Some(ConnectionId::from("c")),
            };
            let bytes = message.encode();
            assert_eq!(Message::decode(&bytes), Ok(message));
            for cut in 0..bytes.len() {
                assert_eq!(Message::decode(&bytes.slice(..cut)), Err(Foreign), "{cut} of {} bytes", bytes.len());
            }
        }
    }
}
