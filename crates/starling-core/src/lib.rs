//! The words of Starling, and the seams between its layers.
//!
//! Everything here is a value or a trait: no runtime, no socket, no clock, no protocol, no broker. The other crates
//! meet through these types: protocol sessions turn packets into [`Request`]s and [`Reply`]s into packets, the hub
//! carries requests out, an [`Engine`] links nodes, and an [`Application`] decides what the rules leave open.

mod application;
mod close;
mod engine;
mod error;
mod id;
mod limits;
mod message;
mod observer;
mod pattern;
mod pending;
mod presence;
mod request;
mod rules;

pub use application::{Admission, Application, Caller, Decision, Effects, Emission, RulesOnly};
pub use close::CloseReason;
pub use engine::{
    Answer, Control, Engine, EngineError, HistoryPage, HistoryRange, Occupancy, Publication, Published, Query, Sink,
    Survey, Target,
};
pub use error::{ErrorCode, Refusal};
pub use id::{AppId, ChannelName, ConnectionId, Epoch, InvalidChannel, MessageId, NodeId, Protocol, UserId};
pub use limits::{Backpressure, Heartbeat, Limits};
pub use message::{DEFAULT_EVENT, Form, Message, Outgoing, Payload, Position, RawJson};
pub use observer::{Happening, Observer};
pub use pattern::{InvalidPattern, Pattern};
pub use pending::{BoxFuture, Pending};
pub use presence::{PresenceChange, PresenceDiff, PresenceEntry, PresenceEvent, PresenceSnapshot};
pub use request::{
    Enter, Notice, PresenceAction, Publish, Reply, Request, Resume, Start, Subscribe, SubscribeMore, Tag,
};
pub use rules::{Access, Delivery, HistoryPolicy, PrefixDefaults, PresencePolicy, PublishAccess, Rule, RuleSet};
