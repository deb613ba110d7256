//! Message ids that publishers chose: one of all nodes reserves an id, publishes, and leaves the answer for the rest.
//!
//! A reservation whose node died before it left an answer is taken over after [`ABANDONED`]: by then the log tells
//! whether the message was stored.

use std::time::Duration;

use starling_core::{EngineError, HistoryRange, Position, Publication, Published};

use crate::link::unavailable;
use crate::names::Key;
use crate::shared::{Shared, now};
use crate::streams::{Kind, StoreError};
use crate::wire::{Wire, fields};

/// Milliseconds after which a reservation without an answer is nobody's; more than an operation may take.
const ABANDONED: u64 = 10_000;

/// Messages that are looked through for one whose reservation was abandoned.
const LOOK_BACK: usize = 1000;

/// What became of a wish to publish under an id.
pub(crate) enum Reservation {
    /// Publish it; the number is for [`Shared::keep_answer`].
    Ours(u64),
    /// It was published before.
    Answered(Published),
}

/// What is kept under an id: nothing while it is being published.
struct Kept {
    position: Option<Position>,
    is_done: bool,
}

fields! { Kept { position, is_done } }

impl Shared {
    pub async fn reserve_id(&self, key: &Key, publication: &Publication) -> Result<Reservation, EngineError> {
        self.link.within("reserve a message id", self.try_reserve(key, publication)).await
    }

    async fn try_reserve(&self, key: &Key, publication: &Publication) -> Result<Reservation, EngineError> {
        let id = &publication.message.id;
        let pending = Kept { position: None, is_done: false };
        let mut expected = 0;
        loop {
            let place = self.link.place(Kind::Recent).await?;
            let subject = format!("{}.{}", place.root, digest(key, id.as_str()));
            match self.link.store(subject.clone(), pending.encode(), Some(expected), false).await {
                Ok(seq) => return Ok(Reservation::Ours(seq)),
                Err(StoreError::Missing) => self.link.streams.forget(Kind::Recent),
                Err(StoreError::Failed(error)) => return Err(error),
                Err(StoreError::Conflict) => {}
            }
            expected = 0;
            let Some(entry) = self.link.latest(&place, &subject).await? else { continue };
            let kept = Kept::decode(&entry.payload).map_err(unavailable)?;
            if kept.is_done {
                return Ok(Reservation::Answered(Published { id: id.clone(), position: kept.position }));
            }
            if entry.stored + ABANDONED < now() {
                match self.find_abandoned(key, publication).await? {
                    Some(published) => return Ok(Reservation::Answered(published)),
                    None => expected = entry.seq,
                }
            } else {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    async fn find_abandoned(&self, key: &Key, publication: &Publication) -> Result<Option<Published>, EngineError> {
        let Some(policy) = publication.history else { return Ok(None) };
        let range = HistoryRange { limit: LOOK_BACK, before: None, after: None };
        let page = self.read_page(key, policy, range, now()).await?;
        let id = &publication.message.id;
        let found = page.messages.iter().find(|message| message.id == *id);
        Ok(found.map(|message| Published { id: id.clone(), position: message.position.clone() }))
    }

    /// Leaves the answer for whoever publishes under this id again.
    pub async fn keep_answer(&self, key: &Key, reserved: u64, published: &Published) -> Result<(), EngineError> {
        let kept = Kept { position: published.position.clone(), is_done: true };
        let stored = self.link.within("keep an answer", async {
            let place = self.link.place(Kind::Recent).await?;
            let subject = format!("{}.{}", place.root, digest(key, published.id.as_str()));
            Ok(self.link.store(subject, kept.encode(), Some(reserved), false).await)
        });
        match stored.await? {
            // Expired, or lost with the broker's data: then nobody is there to be told twice.
            Ok(_) | Err(StoreError::Conflict | StoreError::Missing) => Ok(()),
            Err(StoreError::Failed(error)) => Err(error),
        }
    }
}

/// One token for any id of any channel.
fn digest(key: &Key, id: &str) -> String {
    let mut text = Vec::new();
    key.app.write(&mut text);
    key.channel.write(&mut text);
    text.extend_from_slice(id.as_bytes());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &text);
    digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}
