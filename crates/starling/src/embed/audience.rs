//! Whom an act is for.

use starling_core::{ConnectionId, Refusal, Target, UserId};

use crate::handlers::channel_name;
use crate::mailbox::connection_named;

/// Connections of one app, wherever they are: one, all of a user, or the members of channels with exceptions.
///
/// ```
/// use starling::Audience;
///
/// let one = Audience::connection("Jm4c0bXq");
/// let everyone_but_bots = Audience::members(["room:1", "room:2"]).except_members(["bots"]);
/// # let _ = (one, everyone_but_bots, Audience::user("ann"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audience(Whom);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Whom {
    Connection(ConnectionId),
    User(UserId),
    Members { of: Vec<String>, except: Vec<String>, except_connections: Vec<ConnectionId> },
}

impl Audience {
    /// One connection.
    pub fn connection(id: impl AsRef<str>) -> Self {
        Self(Whom::Connection(connection_named(id.as_ref())))
    }

    /// Every connection of a user.
    pub fn user(id: impl AsRef<str>) -> Self {
        Self(Whom::User(UserId::from(id.as_ref())))
    }

    /// The members of one channel.
    pub fn channel(name: impl AsRef<str>) -> Self {
        Self::members([name])
    }

    /// The members of any of these channels, each once.
    pub fn members<N: AsRef<str>>(channels: impl IntoIterator<Item = N>) -> Self {
        let of = channels.into_iter().map(|name| name.as_ref().to_owned()).collect();
        Self(Whom::Members { of, except: Vec::new(), except_connections: Vec::new() })
    }

    /// Leaves out the members of these channels. Changes only audiences that are members of channels.
    pub fn except_members<N: AsRef<str>>(mut self, channels: impl IntoIterator<Item = N>) -> Self {
        if let Whom::Members { except, .. } = &mut self.0 {
            except.extend(channels.into_iter().map(|name| name.as_ref().to_owned()));
        }
        self
    }

    /// Leaves out a connection. Changes only audiences that are members of channels.
    pub fn except(mut self, connection: impl AsRef<str>) -> Self {
        if let Whom::Members { except_connections, .. } = &mut self.0 {
            except_connections.push(connection_named(connection.as_ref()));
        }
        self
    }

    pub(crate) fn target(self) -> Result<Target, Refusal> {
        let names = |names: Vec<String>| names.iter().map(|name| channel_name(name)).collect::<Result<Vec<_>, _>>();
        Ok(match self.0 {
            Whom::Connection(id) => Target::Connection(id),
            Whom::User(id) => Target::User(id),
            Whom::Members { of, except, except_connections } => {
                Target::Members { of: names(of)?, except: names(except)?, except_connections }
            }
        })
    }
}
