//! Claims and notes: keys of a compacted topic, which every node holds in memory.
//!
//! Whether a claim is granted, and who takes a note, is decided by the order in which Kafka stored the records; times are
//! the broker's. Each try of a claim has a key of its own, so that compaction cannot let one that was refused take the
//! place of the one that was granted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use starling_core::{EngineError, NodeId};

use crate::client::unavailable;
use crate::names::{Place, Topic};
use crate::shared::{Received, Record, Shared, now};
use crate::wire::{Act, Foreign, Wire};
use crate::writer::Outcome;

/// How often one of the nodes removes what is over.
pub(crate) const CLEANING: Duration = Duration::from_secs(30);

/// Milliseconds for which what is over stays in the topic: the clocks of broker and nodes differ.
const CLEAN_LATER: u64 = 60_000;

/// Bytes in a name, at most.
const MAX_NAME: usize = 1000;

#[derive(Default)]
pub(crate) struct Notes {
    kept: Mutex<Kept>,
    tries: AtomicU64,
}

#[derive(Default)]
struct Kept {
    /// By name: until when (Unix milliseconds of the broker), and the key of the record.
    claims: BTreeMap<String, (u64, Vec<u8>)>,
    notes: BTreeMap<String, Note>,
}

struct Note {
    until: u64,
    by: NodeId,
    value: Bytes,
}

impl Notes {
    /// What was read is void.
    pub fn forget_all(&self) {
        *self.kept.lock() = Kept::default();
    }
}

/// What a record's key stands for.
enum Name<'a> {
    Claim(&'a str),
    Note(&'a str),
}

fn parse(key: &[u8]) -> Option<Name<'_>> {
    let text = std::str::from_utf8(key).ok()?;
    match text.strip_prefix("c\0") {
        Some(rest) => rest.rsplit_once('\0').map(|(name, _)| Name::Claim(name)),
        None => text.strip_prefix("n\0").map(Name::Note),
    }
}

fn checked(name: &str) -> Result<&str, EngineError> {
    if name.len() > MAX_NAME {
        return Err(unavailable(format_args!("a name of {} bytes; at most {MAX_NAME}", name.len())));
    }
    Ok(name)
}

fn note_key(name: &str) -> String {
    format!("n\0{name}")
}

const NOTES: Topic = Topic::Notes;

impl Shared {
    pub fn receive_note(self: &Arc<Self>, record: Record<'_>) -> Received {
        let Record { key, time, stamp, value, .. } = record;
        if matches!(stamp.act, Act::Nudge {}) {
            return Ok(Outcome::Done);
        }
        let mut kept = self.notes.kept.lock();
        match (parse(key).ok_or(Foreign)?, stamp.act) {
            (Name::Claim(name), Act::Claim { ttl }) => {
                let is_free = kept.claims.get(name).is_none_or(|(until, _)| *until <= time);
                if is_free {
                    kept.claims.insert(name.to_owned(), (time.saturating_add(ttl), key.to_vec()));
                }
                Ok(Outcome::Claimed(is_free))
            }
            (Name::Claim(name), Act::Clean {}) => {
                if kept.claims.get(name).is_some_and(|(until, of)| of == key && *until <= time) {
                    kept.claims.remove(name);
                }
                Ok(Outcome::Done)
            }
            (Name::Note(name), Act::Note { ttl }) => {
                let value = Bytes::decode(&value.ok_or(Foreign)?)?;
                let note = Note { until: time.saturating_add(ttl), by: stamp.by, value };
                kept.notes.insert(name.to_owned(), note);
                Ok(Outcome::Done)
            }
            (Name::Note(name), Act::Take {}) => {
                let note = kept.notes.remove(name).filter(|note| note.until > time);
                Ok(Outcome::Note(note.map(|note| note.value)))
            }
            (Name::Note(name), Act::Clean {}) => {
                match kept.notes.get(name) {
                    Some(note) if note.until <= time => _ = kept.notes.remove(name),
                    // Written again before it was cleaned up: its record must not be compacted away.
                    Some(note) if note.by == self.node => {
                        let act = Act::Note { ttl: note.until - time };
                        let value = note.value.encode();
                        let _ = self.writer.write(Place::only(NOTES), key, act, Some(&value));
                    }
                    _ => {}
                }
                Ok(Outcome::Done)
            }
            _ => Err(Foreign),
        }
    }

    pub async fn claim(&self, name: &str, ttl: Duration) -> Result<bool, EngineError> {
        let count = self.notes.tries.fetch_add(1, Ordering::Relaxed);
        let key = format!("c\0{}\0{}{count:x}", checked(name)?, self.node);
        let act = Act::Claim { ttl: ttl.as_millis() as u64 };
        let claimed = self.within("claim", self.writer.done(Place::only(NOTES), key.as_bytes(), act, None)).await?;
        let is_granted = claimed == Outcome::Claimed(true);
        if !is_granted {
            let _ = self.writer.write(Place::only(NOTES), key.as_bytes(), Act::Clean {}, None);
        }
        Ok(is_granted)
    }

    pub async fn keep_note(&self, name: &str, value: Bytes, ttl: Duration) -> Result<(), EngineError> {
        let key = note_key(checked(name)?);
        let (act, value) = (Act::Note { ttl: ttl.as_millis() as u64 }, value.encode());
        let kept = self.writer.done(Place::only(NOTES), key.as_bytes(), act, Some(&value));
        self.within("keep a note", kept).await.map(drop)
    }

    pub async fn find_notes(self: &Arc<Self>, prefix: &str, take: bool) -> Result<Vec<(String, Bytes)>, EngineError> {
        self.within("find notes", async {
            self.catch_up(Place::only(NOTES)).await?;
            let found: Vec<(String, Bytes)> = {
                let kept = self.notes.kept.lock();
                let from = kept.notes.range(prefix.to_owned()..).take_while(|(name, _)| name.starts_with(prefix));
                let alive = from.filter(|(_, note)| note.until > now());
                alive.map(|(name, note)| (name.clone(), note.value.clone())).collect()
            };
            if !take {
                return Ok(found);
            }
            let mut answers = Vec::with_capacity(found.len());
            for (name, _) in found {
                let key = note_key(&name);
                let (_, answer) = self.writer.write(Place::only(NOTES), key.as_bytes(), Act::Take {}, None)?;
                answers.push((name, answer));
            }
            let mut taken = Vec::new();
            for (name, answer) in answers {
                if let Ok(Outcome::Note(Some(value))) = answer.await.unwrap_or(Ok(Outcome::Done)) {
                    taken.push((name, value));
                }
            }
            Ok(taken)
        })
        .await
    }

    /// Removes what is over.
    pub fn clean_notes(&self) {
        let limit = now().saturating_sub(CLEAN_LATER);
        let over: Vec<Vec<u8>> = {
            let kept = self.notes.kept.lock();
            let claims = kept.claims.values().filter(|(until, _)| *until < limit).map(|(_, key)| key.clone());
            let notes = kept.notes.iter().filter(|(_, note)| note.until < limit);
            claims.chain(notes.map(|(name, _)| note_key(name).into_bytes())).collect()
        };
        for key in over {
            if self.writer.write(Place::only(NOTES), &key, Act::Clean {}, None).is_err() {
                return;
            }
        }
    }
}
