//! Claims and notes: keys of a bucket that carry the time until which they hold.
//!
//! What is over counts as absent at once, and is removed by one of the nodes now and then.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use starling_core::EngineError;

use crate::link::unavailable;
use crate::names::{escape, unescape};
use crate::shared::{Shared, now};
use crate::streams::{Entry, Kind, Place, StoreError};
use crate::wire::{Wire, fields};

/// How often one of the nodes removes what is over.
pub(crate) const CLEANING: Duration = Duration::from_secs(30);

/// Bytes in a name, at most.
const MAX_NAME: usize = 1000;

/// Keys looked at in one step.
const STEP: usize = 10_000;

struct Kept {
    /// Unix milliseconds.
    until: u64,
    /// A claim has none, nor has a note that was taken.
    value: Option<Bytes>,
}

fields! { Kept { until, value } }

fn until(ttl: Duration) -> u64 {
    now().saturating_add(ttl.as_millis() as u64)
}

fn token(name: &str) -> Result<String, EngineError> {
    if name.len() > MAX_NAME {
        return Err(unavailable(format_args!("a name of {} bytes; at most {MAX_NAME}", name.len())));
    }
    Ok(escape(name))
}

impl Shared {
    pub async fn claim(&self, name: &str, ttl: Duration) -> Result<bool, EngineError> {
        let token = token(name)?;
        self.link.within("claim", self.try_claim(&token, until(ttl))).await
    }

    async fn try_claim(&self, token: &str, until: u64) -> Result<bool, EngineError> {
        let kept = Kept { until, value: None }.encode();
        let mut expected = 0;
        loop {
            let place = self.link.place(Kind::Notes).await?;
            let subject = format!("{}.c.{token}", place.root);
            match self.link.store(subject.clone(), kept.clone(), Some(expected), false).await {
                Ok(_) => return Ok(true),
                Err(StoreError::Missing) => self.link.streams.forget(Kind::Notes),
                Err(StoreError::Failed(error)) => return Err(error),
                Err(StoreError::Conflict) => {}
            }
            match self.link.latest(&place, &subject).await? {
                Some(entry) if read(&entry)?.until > now() => return Ok(false),
                Some(entry) => expected = entry.seq,
                None => expected = 0,
            }
        }
    }

    pub async fn keep_note(&self, name: &str, value: Bytes, ttl: Duration) -> Result<(), EngineError> {
        let token = token(name)?;
        let kept = Kept { until: until(ttl), value: Some(value) }.encode();
        self.link
            .within("keep a note", async {
                loop {
                    let place = self.link.place(Kind::Notes).await?;
                    let subject = format!("{}.n.{token}", place.root);
                    match self.link.store(subject, kept.clone(), None, false).await {
                        Ok(_) => return Ok(()),
                        Err(StoreError::Failed(error)) => return Err(error),
                        Err(StoreError::Missing | StoreError::Conflict) => self.link.streams.forget(Kind::Notes),
                    }
                }
            })
            .await
    }

    pub async fn find_notes(&self, prefix: &str, take: bool) -> Result<Vec<(String, Bytes)>, EngineError> {
        self.link.within("find notes", self.try_find(prefix, take)).await
    }

    async fn try_find(&self, prefix: &str, take: bool) -> Result<Vec<(String, Bytes)>, EngineError> {
        let place = self.link.place(Kind::Notes).await?;
        let root = format!("{}.n.", place.root);
        let (entries, _) = self.link.read(&place, format!("{root}*"), 1, usize::MAX).await?;
        let mut found = Vec::new();
        for entry in entries {
            let name = entry.subject.strip_prefix(&root).and_then(unescape);
            let Some(name) = name.filter(|name| name.starts_with(prefix)) else { continue };
            let kept = read(&entry)?;
            let Some(value) = kept.value.filter(|_| kept.until > now()) else { continue };
            if !take || self.take(&place, &entry).await? {
                found.push((name, value));
            }
        }
        // Overwritten while it was read: the later one counts.
        found.reverse();
        found.sort_by(|a: &(String, Bytes), b| a.0.cmp(&b.0));
        found.dedup_by(|later, first| later.0 == first.0);
        Ok(found)
    }

    /// Whether this call removed it.
    async fn take(&self, place: &Arc<Place>, entry: &Entry) -> Result<bool, EngineError> {
        let taken = Kept { until: 0, value: None }.encode();
        match self.link.store(entry.subject.clone(), taken, Some(entry.seq), false).await {
            Ok(seq) => {
                let place = place.clone();
                self.runtime.spawn(async move { place.stream.delete_message(seq).await.map(drop) });
                Ok(true)
            }
            Err(StoreError::Conflict | StoreError::Missing) => Ok(false),
            Err(StoreError::Failed(error)) => Err(error),
        }
    }

    /// Removes what is over, if no other node did lately.
    pub async fn clean_notes(&self) -> Result<(), EngineError> {
        if !self.claim("cleaning", CLEANING).await? {
            return Ok(());
        }
        let place = self.link.place(Kind::Notes).await?;
        let mut from = 1;
        loop {
            let (entries, is_more) = self.link.read(&place, format!("{}.>", place.root), from, STEP).await?;
            for entry in entries {
                from = entry.seq + 1;
                if read(&entry).is_ok_and(|kept| kept.until <= now()) {
                    place.stream.delete_message(entry.seq).await.map_err(unavailable)?;
                }
            }
            if !is_more {
                return Ok(());
            }
        }
    }
}

fn read(entry: &Entry) -> Result<Kept, EngineError> {
    Kept::decode(&entry.payload).map_err(|error| {
        tracing::error!(subject = entry.subject, %error, "NATS");
        unavailable("data in the bucket of notes that Starling did not write")
    })
}
