//! A message on its way to many members, and its wire forms.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::SmallVec;
use starling_core::{Form, Message, Outgoing};

/// Writes what all members of a channel get alike, in one of the wire forms, ready for the socket.
///
/// Each worker has its own, so that it may keep scratch space and compressors.
pub trait Encoder: Send {
    /// Writes `outgoing` in `form`.
    fn encode(&mut self, form: Form, outgoing: &Outgoing<'_>) -> Bytes;
}

/// A message, and each of its wire forms once somebody needed it. Shared by all workers.
pub struct Broadcast {
    /// The message.
    pub message: Arc<Message>,
    forms: Mutex<SmallVec<[(Form, Bytes); 2]>>,
}

impl Broadcast {
    /// Wraps a message; nothing is encoded yet.
    pub fn new(message: Arc<Message>) -> Self {
        Self { message, forms: Mutex::default() }
    }

    /// The message in `form`, made by `encoder` if nobody needed it before.
    pub fn form(&self, form: Form, encoder: &mut dyn Encoder) -> Bytes {
        // Held while encoding, so that a second worker waits for the first one's bytes instead of making its own.
        let mut forms = self.forms.lock();
        if let Some((_, bytes)) = forms.iter().find(|(known, _)| *known == form) {
            return bytes.clone();
        }
        let bytes = encoder.encode(form, &Outgoing::Message(&self.message));
        forms.push((form, bytes.clone()));
        bytes
    }
}
