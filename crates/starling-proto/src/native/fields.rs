//! A client message as named fields, whatever it is written in.
//!
//! A codec splits an object into [`Fields`] without understanding the values; each value is read as what it should be
//! only when somebody asks for it.

use std::borrow::Cow;

use starling_core::{ErrorCode, Payload, RawJson, Refusal};
use thiserror::Error;

/// What a client sent is no object of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// Text where the encoding wants bytes, or the other way round.
    #[error("wrong kind of frame for this subprotocol")]
    FrameKind,
    /// Not one complete value of the encoding.
    #[error("not one well-formed value")]
    Syntax,
    /// A value, but not an object with names for its members.
    #[error("a message is an object")]
    NotAnObject,
}

impl Malformed {
    /// Whether the connection cannot go on (close code 1003).
    pub fn is_fatal(self) -> bool {
        match self {
            Self::FrameKind | Self::Syntax => true,
            Self::NotAnObject => false,
        }
    }
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Self::new(ErrorCode::InvalidMessage, malformed.to_string())
    }
}

/// A value as it was written by the client, well-formed and not yet understood.
pub(super) trait Value<'a>: Copy {
    /// Whether it is null.
    fn is_null(self) -> bool;
    /// The text, if it is one.
    fn text(self) -> Option<Cow<'a, str>>;
    /// The number, if it is a whole one that fits.
    fn unsigned(self) -> Option<u64>;
    /// The truth value, if it is one.
    fn boolean(self) -> Option<bool>;
    /// How a string or number was written, and how many bytes of that are its content.
    fn reference(self) -> Option<(&'a [u8], usize)>;
    /// Its members, if it is an object.
    fn members(self) -> Option<Fields<Self>>;
    /// The value as JSON text, or why it has none, in words that follow the field's name.
    fn json(self) -> Result<RawJson, &'static str>;
    /// The value as a payload, or why it is none.
    fn payload(self) -> Result<Payload, &'static str>;
}

macro_rules! names {
    ($($variant:ident = $text:literal,)*) => {
        /// The names of fields that mean something.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Name {
            $($variant,)*
        }

        impl Name {
            const COUNT: usize = [$($text),*].len();

            /// The field of this name.
            pub(super) fn of(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }

            /// The name.
            pub(super) fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

names! {
    Ack = "ack",
    Action = "action",
    After = "after",
    Before = "before",
    Channel = "channel",
    Data = "data",
    Echo = "echo",
    Encoding = "encoding",
    Epoch = "epoch",
    Event = "event",
    Id = "id",
    Key = "key",
    Limit = "limit",
    MessageId = "messageId",
    Offset = "offset",
    Payload = "payload",
    Presence = "presence",
    Recover = "recover",
    Rewind = "rewind",
    Token = "token",
    Type = "type",
}

/// The known fields of an object.
#[derive(Debug)]
pub(super) struct Fields<V> {
    values: [Option<V>; Name::COUNT],
    repeated: Option<Name>,
}

impl<V: Copy> Fields<V> {
    pub(super) fn new() -> Self {
        Self { values: [None; Name::COUNT], repeated: None }
    }

    /// Takes a field; the first of a name stays.
    pub(super) fn put(&mut self, name: Name, value: V) {
        let place = &mut self.values[name as usize];
        if place.is_some() {
            self.repeated = Some(name);
        } else {
            *place = Some(value);
        }
    }

    pub(super) fn value(&self, name: Name) -> Option<V> {
        self.values[name as usize]
    }

    /// A field that stands there more than once.
    pub(super) fn repeated(&self) -> Option<Name> {
        self.repeated
    }
}
