//! What nodes say to each other through Redis, as bytes.
//!
//! Everything starts with [`VERSION`] and a byte that says what follows. Strings and bytes carry their length before
//! them, as numbers do in LEB128: it is about as compact as MessagePack, and a payload is copied once. Whatever cannot
//! be read is an [`Unreadable`]: of a later version, or somebody else's.

mod bytes;
mod control;
mod message;
mod presence;
mod survey;

use ::bytes::Bytes;
use starling_core::{Answer, AppId, Control, Epoch, Message, NodeId, PresenceEvent, Query};

use bytes::{Reader, Writer};
pub(crate) use message::{decode_body, encode_body};
pub(crate) use presence::{Told, decode_entry, decode_told};

/// The version of everything here. A change that older nodes cannot read takes the next.
pub(crate) const VERSION: u8 = 1;

/// The bytes are of another version, or of somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// Another version; perhaps a node that was updated already.
    #[error("version {0}, this node knows {VERSION}")]
    Version(u8),
    /// Not what it should be.
    #[error("it is not in Starling's form")]
    Foreign,
}

/// What comes through the pub/sub channel of a channel.
#[derive(Debug, PartialEq)]
pub(crate) enum ChannelFrame {
    /// A message of a log: its epoch and offset are before its body.
    Logged(Epoch, u64, Bytes),
    /// A message without a log.
    Passing(Bytes),
    /// The log was cleared; the new epoch.
    Cleared(Epoch),
    /// Presence changed.
    Presence(Told),
}

/// What comes through the pub/sub channels of all nodes, and of this node.
#[derive(Debug, PartialEq)]
pub(crate) enum NodeFrame {
    /// An order from `origin`.
    Control { origin: NodeId, app: AppId, control: Control },
    /// A question of `origin` to all others.
    Survey { origin: NodeId, number: u64, app: AppId, query: Query },
    /// The answers to a question.
    Answers { number: u64, answers: Vec<Answer> },
    /// A question to this node.
    Relay { origin: NodeId, number: u64, request: Bytes },
    /// The answer to it.
    Reply { number: u64, reply: Bytes },
}

const LOGGED: u8 = b'M';
const PASSING: u8 = b'm';
const CLEARED: u8 = b'C';
const PRESENCE: u8 = b'P';
const CONTROL: u8 = b'K';
const SURVEY: u8 = b'Q';
const ANSWERS: u8 = b'A';
const RELAY: u8 = b'R';
const REPLY: u8 = b'r';

/// A message without a log, to be published as it is.
pub(crate) fn passing(message: &Message) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.byte(VERSION);
    writer.byte(PASSING);
    encode_body(message, &mut writer);
    writer.0
}

/// A message as it is kept in the log. The script puts epoch and offset before it.
pub(crate) fn body(message: &Message) -> Vec<u8> {
    let mut writer = Writer::default();
    encode_body(message, &mut writer);
    writer.0
}

/// Reads what came through the pub/sub channel of a channel.
pub(crate) fn decode_channel_frame(bytes: Bytes) -> Result<ChannelFrame, Unreadable> {
    let mut reader = Reader::new(bytes);
    let kind = kind(&mut reader)?;
    match kind {
        LOGGED => {
            let epoch = reader.word()?;
            let offset = reader.word()?.parse().map_err(|_| Unreadable::Foreign)?;
            Ok(ChannelFrame::Logged(Epoch::new(epoch), offset, reader.rest()))
        }
        PASSING => Ok(ChannelFrame::Passing(reader.rest())),
        CLEARED => Ok(ChannelFrame::Cleared(Epoch::new(reader.word()?))),
        PRESENCE => Ok(ChannelFrame::Presence(decode_told(&reader.rest())?)),
        _ => Err(Unreadable::Foreign),
    }
}

fn kind(reader: &mut Reader) -> Result<u8, Unreadable> {
    match reader.byte()? {
        VERSION => reader.byte(),
        other => Err(Unreadable::Version(other)),
    }
}

impl NodeFrame {
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.byte(VERSION);
        match self {
            Self::Control { origin, app, control } => {
                writer.byte(CONTROL);
                writer.text(origin.as_str());
                writer.text(app.as_str());
                control::encode(control, &mut writer);
            }
            Self::Survey { origin, number, app, query } => {
                writer.byte(SURVEY);
                writer.text(origin.as_str());
                writer.number(*number);
                writer.text(app.as_str());
                survey::encode_query(query, &mut writer);
            }
            Self::Answers { number, answers } => {
                writer.byte(ANSWERS);
                writer.number(*number);
                writer.list(answers, survey::encode_answer);
            }
            Self::Relay { origin, number, request } => {
                writer.byte(RELAY);
                writer.text(origin.as_str());
                writer.number(*number);
                writer.0.extend_from_slice(request);
            }
            Self::Reply { number, reply } => {
                writer.byte(REPLY);
                writer.number(*number);
                writer.0.extend_from_slice(reply);
            }
        }
        writer.0
    }

    pub fn decode(bytes: Bytes) -> Result<Self, Unreadable> {
        let mut reader = Reader::new(bytes);
        match kind(&mut reader)? {
            CONTROL => {
                let (origin, app) = (NodeId::new(reader.text()?), AppId::new(reader.text()?));
                Ok(Self::Control { origin, app, control: control::decode(&mut reader)? })
            }
            SURVEY => {
                let (origin, number) = (NodeId::new(reader.text()?), reader.number()?);
                let app = AppId::new(reader.text()?);
                Ok(Self::Survey { origin, number, app, query: survey::decode_query(&mut reader)? })
            }
            ANSWERS => Ok(Self::Answers { number: reader.number()?, answers: reader.list(survey::decode_answer)? }),
            RELAY => {
                let (origin, number) = (NodeId::new(reader.text()?), reader.number()?);
                Ok(Self::Relay { origin, number, request: reader.rest() })
            }
            REPLY => Ok(Self::Reply { number: reader.number()?, reply: reader.rest() }),
            _ => Err(Unreadable::Foreign),
        }
    }
}

/// An event of presence as this node is to be told of it.
pub(crate) fn event(told: Told, app: &AppId, channel: &starling_core::ChannelName, ours: bool) -> PresenceEvent {
    PresenceEvent { app: app.clone(), channel: channel.clone(), version: told.version, diff: told.diff, ours }
}

#[cfg(test)]
mod tests;
