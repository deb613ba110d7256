//! What is stored: records of logs, and a user's entries in a channel.

use starling_core::{ConnectionId, Epoch, Message, NodeId, Position, PresenceDiff, PresenceEntry};

use super::fields;

/// Several messages of one channel that were published at once, or none: the mark of a log that has none yet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    /// None for channels without history.
    pub epoch: Option<Epoch>,
    /// The offset of the first of `messages`, or of the message that comes next.
    pub first: u64,
    /// The latest `ts` of this and earlier records, in Unix milliseconds.
    pub latest: u64,
    /// Whether the log was cleared and begins here.
    pub cleared: bool,
    /// Without positions: [`Record::positioned`] gives them.
    pub messages: Vec<Message>,
}

impl Record {
    /// The log's head after this record.
    pub fn end(&self) -> u64 {
        self.first + self.messages.len() as u64 - 1
    }

    /// The messages with their positions.
    pub fn positioned(self) -> impl Iterator<Item = Message> {
        let Self { epoch, first, messages, .. } = self;
        messages.into_iter().zip(first..).map(move |(mut message, offset)| {
            message.position = epoch.as_ref().map(|epoch| Position { epoch: epoch.clone(), offset });
            message
        })
    }
}

fields! { Record { epoch, first, latest, cleared, messages } }

/// One user's entries in one channel, and the change that made them so.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct UserRecord {
    pub entries: Vec<Stored>,
    /// What to tell; none when nobody needs to know. A revision of 0 in it, and in `entries`, is this record's own.
    pub diff: Option<PresenceDiff>,
    /// Which node made the change.
    pub by: Option<NodeId>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored {
    pub entry: PresenceEntry,
    /// The node whose connection it is.
    pub node: NodeId,
    /// When it leaves, if it lingers after its connection was lost; Unix milliseconds.
    pub until: Option<u64>,
    /// Connections under which those who watch longer know this entry.
    pub aliases: Vec<ConnectionId>,
}

impl UserRecord {
    /// Puts in the record's own revision where it is not known yet.
    pub fn revised(mut self, revision: u64) -> Self {
        let diff = self.diff.iter_mut();
        let told = diff.flat_map(|diff| diff.joins.iter_mut().chain(&mut diff.leaves).chain(&mut diff.replaced));
        let entries = self.entries.iter_mut().map(|stored| &mut stored.entry);
        for entry in entries.chain(told).filter(|entry| entry.revision == 0) {
            entry.revision = revision;
        }
        self
    }
}

fields! {
    UserRecord { entries, diff, by }
    Stored { entry, node, until, aliases }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Wire;
    use bytes::Bytes;
    use starling_core::{AppId, ChannelName, MessageId, Payload, RawJson, UserId};
    use starling_wire::Foreign;

    fn message(payload: Payload) -> Message {
        Message {
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
        }
    }

    #[test]
    fn records_come_back_as_they_were_and_cut_ones_are_foreign() {
        let record = Record {
            epoch: Some(Epoch::from("e")),
            first: 300,
            latest: 7,
            cleared: true,
            messages: vec![
                message(Payload::Binary(vec![0, 255].into())),
                message(Payload::Json(RawJson::parse("[1.50]").unwrap())),
            ],
        };
        let bytes = record.encode();
        assert_eq!(Record::decode(&bytes), Ok(record.clone()));
        assert_eq!(record.end(), 301);
        let offsets: Vec<u64> = record.positioned().map(|message| message.position.unwrap().offset).collect();
        assert_eq!(offsets, [300, 301]);
        for cut in 0..bytes.len() {
            assert_eq!(Record::decode(&bytes.slice(..cut)), Err(Foreign), "{cut} of {} bytes", bytes.len());
        }
        assert_eq!(Record::decode(&Bytes::from_static(b"{\"json\":1}")), Err(Foreign));
    }
}
