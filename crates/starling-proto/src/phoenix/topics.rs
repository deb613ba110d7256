//! Which topics a connection has joined, and by which join.

use starling_core::ChannelName;

/// A topic that the connection is a member of.
#[derive(Debug)]
pub(super) struct Topic {
    pub name: ChannelName,
    /// The client's reference to its join, as JSON text; null where it gave none, or the server joined it.
    pub join_ref: Box<str>,
    /// Whether it was told who is present: the first time it sees itself join, as with a real server.
    pub greeted: bool,
    pub by: By,
}

/// Who made the connection a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The client's join.
    Client,
    /// The server: the client may still join.
    Server,
    /// It is the topic of its own user, which it is a member of anyway.
    User,
}

/// Sorted by name. There are as many as the hub grants subscriptions, and the topic of the connection's own user.
#[derive(Debug, Default)]
pub(super) struct Topics(Vec<Topic>);

impl Topics {
    pub fn get(&self, name: &str) -> Option<&Topic> {
        self.place(name).ok().map(|at| &self.0[at])
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Topic> {
        self.place(name).ok().map(|at| &mut self.0[at])
    }

    /// Puts a topic in place of the one with its name.
    pub fn put(&mut self, topic: Topic) {
        match self.place(topic.name.as_str()) {
            Ok(at) => self.0[at] = topic,
            Err(at) => self.0.insert(at, topic),
        }
    }

    pub fn remove(&mut self, name: &str) -> Option<Topic> {
        let removed = self.place(name).ok().map(|at| self.0.remove(at));
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
        removed
    }

    /// The client's reference to its join of a topic, as JSON text.
    pub fn join_ref(&self, name: &str) -> &str {
        self.get(name).map_or("null", |topic| &topic.join_ref)
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|topic| topic.name.as_str().cmp(name))
    }
}
