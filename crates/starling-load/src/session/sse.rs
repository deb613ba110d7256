//! An event stream: it is asked for, and then listens.

use std::sync::Arc;

use super::{Heard, Opening, Publish, Session, bearer, path};
use crate::target::{Identity, in_query};

pub struct Sse {
    identity: Arc<Identity>,
    channel: Option<String>,
}

impl Sse {
    pub fn new(identity: Arc<Identity>, channel: Option<String>) -> Self {
        Self { identity, channel }
    }
}

impl Session for Sse {
    fn opening(&self) -> Opening {
        let channel = self.channel.as_deref();
        let own = || format!("/sse?channel={}", in_query(channel.unwrap_or_default()));
        let headers = format!("Accept: text/event-stream\r\n{}", bearer(&self.identity));
        Opening { path: path(&self.identity, channel, own), headers }
    }

    /// A stream of Starling says when it is in its channels; others just begin.
    fn open(&mut self, _: &mut Vec<String>) -> bool {
        self.identity.path.is_some()
    }

    /// The name of an event, or its data.
    fn hear(&mut self, line: &str, _: &mut Vec<String>) -> Heard {
        match line.strip_prefix("event: ") {
            Some("ready") => Heard::Joined,
            Some("gap") => Heard::Problem("gap: messages were dropped".to_owned()),
            Some("unsubscribed") => Heard::Problem("unsubscribed".to_owned()),
            _ => Heard::Quiet,
        }
    }

    fn publish(&mut self, _: Publish<'_>, _: &mut String) {
        unreachable!("streams have no way back: messages are published over the HTTP API");
    }
}
