//! Message ids that publishers chose, and what the first message of each was answered.
//!
//! Each node remembers them from the log, by the broker's time: all say the same of the same record.

use std::collections::VecDeque;

use hashbrown::HashMap;
use starling_core::{MessageId, Position};

/// The ids of one channel, for as long as each is remembered.
#[derive(Default)]
pub(crate) struct Recent {
    answers: HashMap<MessageId, Option<Position>>,
    /// When each is forgotten (Unix milliseconds), in the order in which they came.
    ends: VecDeque<(u64, MessageId)>,
}

impl Recent {
    /// What the message of this id was answered, if there was one.
    pub fn find(&mut self, id: &MessageId, time: u64) -> Option<Option<Position>> {
        self.expire(time);
        self.answers.get(id).cloned()
    }

    pub fn remember(&mut self, id: MessageId, position: Option<Position>, until: u64) {
        self.answers.insert(id.clone(), position);
        self.ends.push_back((until, id));
    }

    /// Forgets what is over.
    pub fn expire(&mut self, time: u64) {
        let over = self.ends.iter().take_while(|(until, _)| *until <= time).count();
        for (_, id) in self.ends.drain(..over) {
            self.answers.remove(&id);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}
