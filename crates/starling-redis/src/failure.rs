//! Why a command had no good answer.

use redis::{Cmd, RedisError, ServerError, ServerErrorKind};
use starling_core::EngineError;

/// A command failed.
pub(crate) enum Failure {
    /// No connection, no answer in time, no room to wait: what became of it is not known, or nothing.
    Unavailable(String),
    /// The server answered with an error: nothing happened.
    Refused(ServerError),
    /// The server does not have the script, or is not the one that has the key: nothing happened, it may be sent again.
    Again(Box<Cmd>, ServerError),
}

impl Failure {
    pub fn unavailable(why: &str) -> Self {
        Self::Unavailable(why.to_owned())
    }

    /// Whether the command can be sent again after an error.
    pub fn is_for_another_try(error: &ServerError) -> bool {
        matches!(error.kind(), Some(ServerErrorKind::NoScript | ServerErrorKind::Moved))
    }

    /// Whether something that is not ours stands under our keys: what it says.
    pub fn foreign_data(&self) -> Option<String> {
        let (Self::Refused(error) | Self::Again(_, error)) = self else { return None };
        let text = describe(error);
        (error.code() == "WRONGTYPE" || text.contains("WRONGTYPE") || text.contains("STARLING")).then_some(text)
    }

    /// Whether the connection is of no use any more after an error: its server is a master no longer, or wants other
    /// credentials.
    pub fn ends_the_connection(error: &ServerError) -> bool {
        let kind = matches!(error.kind(), Some(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown));
        kind || error.code() == "NOAUTH"
    }
}

/// An answer's code and text.
pub(crate) fn describe(error: &ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

impl From<Failure> for EngineError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unavailable(why) => Self::Unavailable(why),
            Failure::Refused(error) | Failure::Again(_, error) => Self::Unavailable(describe(&error)),
        }
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
