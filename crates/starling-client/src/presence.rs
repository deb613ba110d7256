//! Who is in a channel.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use starling_core::RawJson;
use tokio::sync::watch;

use crate::Client;
use crate::ask::Ask;
use crate::error::Error;

/// A connection that entered the presence of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// `None` for an anonymous connection.
    pub user_id: Option<String>,
    /// Distinguishes the connections of one user.
    pub connection_id: String,
    /// What it shows of itself, a JSON object.
    pub data: RawJson,
}

impl Member {
    /// [`data`](Self::data) as a type of the application's own.
    ///
    /// # Errors
    ///
    /// [`Error::Payload`] when it has another shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(self.data.as_str()).map_err(Error::payload)
    }
}

/// A change of the set of members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PresenceChange {
    /// Who came, and who changed its data.
    pub joins: Vec<Member>,
    /// Who left.
    pub leaves: Vec<Member>,
}

/// The members of a channel, by connection id. A snapshot, cheap to clone.
///
/// [`Subscription::members`](crate::Subscription::members) has the latest one.
#[derive(Debug, Clone, Default)]
pub struct Members {
    by_connection: Arc<BTreeMap<String, Member>>,
    is_live: bool,
}

impl Members {
    /// Whether the server keeps the set up to date: `false` without a connection, and before the first set has come.
    pub fn is_live(&self) -> bool {
        self.is_live
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_connection.len()
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.by_connection.is_empty()
    }

    /// The member that is this connection.
    pub fn get(&self, connection_id: &str) -> Option<&Member> {
        self.by_connection.get(connection_id)
    }

    /// All of them, in the order of their connection ids.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.by_connection.values()
    }

    /// Takes the whole set, and tells what is new about it.
    fn replace(&mut self, members: Vec<Member>) -> PresenceChange {
        let new: BTreeMap<String, Member> =
            members.into_iter().map(|member| (member.connection_id.clone(), member)).collect();
        let old = std::mem::replace(&mut self.by_connection, Arc::new(new));
        self.is_live = true;
        let is_new = |member: &&Member| old.get(&member.connection_id) != Some(*member);
        let is_gone = |member: &&Member| !self.by_connection.contains_key(&member.connection_id);
        PresenceChange {
            joins: self.by_connection.values().filter(is_new).cloned().collect(),
            leaves: old.values().filter(is_gone).cloned().collect(),
        }
    }

    fn apply(&mut self, change: &PresenceChange) {
        let members = Arc::make_mut(&mut self.by_connection);
        for member in &change.leaves {
            members.remove(&member.connection_id);
        }
        for member in &change.joins {
            members.insert(member.connection_id.clone(), member.clone());
        }
    }
}

/// The live set of one subscription, as the driver keeps it.
#[derive(Debug)]
pub(crate) struct LiveMembers(watch::Sender<Members>);

impl LiveMembers {
    pub(crate) fn new() -> (Self, watch::Receiver<Members>) {
        let (sender, receiver) = watch::channel(Members::default());
        (Self(sender), receiver)
    }

    /// The whole set, after subscribing; `None` if it is as it was.
    pub(crate) fn replace(&self, members: Vec<Member>) -> Option<PresenceChange> {
        let mut change = PresenceChange::default();
        self.0.send_modify(|set| change = set.replace(members));
        Some(change).filter(|change| !change.joins.is_empty() || !change.leaves.is_empty())
    }

    pub(crate) fn apply(&self, change: &PresenceChange) {
        self.0.send_modify(|set| set.apply(change));
    }

    /// The server does not tell of changes any more.
    pub(crate) fn pause(&self) {
        self.0.send_if_modified(|set| std::mem::replace(&mut set.is_live, false));
    }
}

/// The presence of one channel: to enter it and to ask who is there. From [`Client::presence`].
#[derive(Debug, Clone)]
pub struct Presence {
    pub(crate) client: Client,
    pub(crate) channel: String,
}

impl Presence {
    /// Enters the channel, which must be subscribed, with `data`, an object. After a lost connection it is entered again.
    ///
    /// Cancel-safe in that the future can be dropped; the channel may then be entered all the same.
    ///
    /// # Errors
    ///
    /// When `data` cannot be written as JSON, the server refuses it, there is no answer in time, or the client has ended.
    pub async fn enter<T: Serialize + ?Sized>(&self, data: &T) -> Result<(), Error> {
        self.ask("enter", Some(RawJson::of(data).map_err(Error::payload)?)).await.map(drop)
    }

    /// Enters with the `info` of the token as data. Otherwise like [`enter`](Self::enter).
    ///
    /// # Errors
    ///
    /// When the server refuses it, there is no answer in time, or the client has ended.
    pub async fn enter_as_user(&self) -> Result<(), Error> {
        self.ask("enter", None).await.map(drop)
    }

    /// Changes what is shown of this connection. Otherwise like [`enter`](Self::enter).
    ///
    /// # Errors
    ///
    /// As for [`enter`](Self::enter).
    pub async fn update<T: Serialize + ?Sized>(&self, data: &T) -> Result<(), Error> {
        self.ask("update", Some(RawJson::of(data).map_err(Error::payload)?)).await.map(drop)
    }

    /// Leaves the presence, not the channel.
    ///
    /// # Errors
    ///
    /// When the server refuses it, there is no answer in time, or the client has ended.
    pub async fn leave(&self) -> Result<(), Error> {
        self.ask("leave", None).await.map(drop)
    }

    /// Asks the server who is there now; no subscription is needed. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When the server refuses it, there is no answer in time, or the client has ended.
    pub async fn get(&self) -> Result<Vec<Member>, Error> {
        self.ask("get", None).await
    }

    async fn ask(&self, action: &'static str, data: Option<RawJson>) -> Result<Vec<Member>, Error> {
        let ask = Ask::Presence { channel: self.channel.clone(), action, data };
        Ok(self.client.ask(ask, self.client.request_timeout()).await?.members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(connection: &str, data: &str) -> Member {
        Member { user_id: None, connection_id: connection.into(), data: RawJson::parse(data).unwrap() }
    }

    #[test]
    fn a_set_that_comes_again_is_told_as_what_changed_meanwhile() {
        let (live, members) = LiveMembers::new();
        let first = live.replace(vec![member("a", "1"), member("b", "1")]).unwrap();
        assert_eq!((first.joins.len(), first.leaves.len()), (2, 0));
        live.pause();
        assert!(!members.borrow().is_live() && members.borrow().len() == 2, "the last that was known");
        let change = live.replace(vec![member("b", "2"), member("c", "1")]).unwrap();
        assert_eq!(change.joins, [member("b", "2"), member("c", "1")]);
        assert_eq!(change.leaves, [member("a", "1")]);
        assert_eq!(live.replace(vec![member("b", "2"), member("c", "1")]), None);
        live.apply(&PresenceChange { joins: vec![member("d", "1")], leaves: vec![member("b", "2")] });
        let ids: Vec<String> = members.borrow().iter().map(|member| member.connection_id.clone()).collect();
        assert_eq!(ids, ["c", "d"]);
        assert!(members.borrow().get("d").is_some() && !members.borrow().is_empty());
    }
}
