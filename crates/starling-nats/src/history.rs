//! Reading logs: the head from the stream's leader, the rest from any replica.
//!
//! A log's records stand among those of other channels, so the place of an offset is searched: the broker finds the
//! next record of a channel from any sequence on, and every record says which offsets it holds.

use std::sync::Arc;

use starling_core::{Control, EngineError, HistoryPage, HistoryPolicy, HistoryRange, Message, Position};

use crate::link::unavailable;
use crate::logs::{Head, mark};
use crate::names::{Key, LogGroup};
use crate::shared::{Shared, now};
use crate::streams::{Entry, Kind, Place, StoreError};
use crate::wire::{Record, Wire};

/// Records that are fetched one by one; more are worth a consumer.
const FEW: usize = 3;

/// Records fetched at once.
const CHUNK: usize = 256;

/// The end of a log as the broker has it.
pub(crate) enum HeadRead {
    Log(Head, Read),
    Nothing,
}

/// A record that was read.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    pub seq: u64,
    pub stored: u64,
    pub record: Record,
}

impl TryFrom<Entry> for Read {
    type Error = EngineError;

    fn try_from(entry: Entry) -> Result<Self, EngineError> {
        let record = Record::decode(&entry.payload).ok().filter(|record| record.epoch.is_some() && record.first > 0);
        match record {
            Some(record) => Ok(Self { seq: entry.seq, stored: entry.stored, record }),
            None => {
                tracing::error!(subject = entry.subject, seq = entry.seq, "NATS: data that Starling did not write");
                Err(unavailable("data in the log that Starling did not write"))
            }
        }
    }
}

/// Where to look: the record at `hi` is one that is looked for, none before `lo` is.
struct Search<'a> {
    place: &'a Place,
    subject: &'a str,
    lo: Read,
    hi: Read,
}

impl Shared {
    pub async fn read_head(&self, key: &Key, place: &Place, subject: &str) -> Result<HeadRead, EngineError> {
        let Some(entry) = self.link.latest(place, subject).await? else { return Ok(HeadRead::Nothing) };
        let read = Read::try_from(entry)?;
        let epoch = read.record.epoch.clone().unwrap_or_else(|| "".into());
        let (offset, latest) = (read.record.end(), read.record.latest);
        let untrimmed = self.logs.head(key, place).map_or(0, |head| head.untrimmed);
        let head = Head { root: place.root.clone(), epoch, offset, seq: read.seq, latest, untrimmed };
        Ok(HeadRead::Log(head, read))
    }

    pub async fn read_history(
        &self,
        key: &Key,
        policy: HistoryPolicy,
        range: HistoryRange,
        now: u64,
    ) -> Result<HistoryPage, EngineError> {
        self.link.within("read history", self.read_page(key, policy, range, now)).await
    }

    pub async fn read_page(
        &self,
        key: &Key,
        policy: HistoryPolicy,
        range: HistoryRange,
        now: u64,
    ) -> Result<HistoryPage, EngineError> {
        let (place, subject, head, last) = self.head_or_mark(key, LogGroup::of(policy)).await?;
        let position = Position { epoch: head.epoch.clone(), offset: head.offset };
        let nothing = |oldest| HistoryPage { messages: Vec::new(), head: position.clone(), oldest };
        if head.offset == 0 {
            return Ok(nothing(1));
        }
        let ttl = policy.ttl.as_millis() as u64;
        let covered = head.offset.saturating_sub(policy.size as u64) + 1;
        let is_kept = |read: &Read| read.record.end() >= covered && read.record.latest.saturating_add(ttl) > now;
        if !is_kept(&last) {
            return Ok(nothing(head.offset + 1));
        }
        let first = match self.link.next(&place, &subject, 1).await? {
            Some(entry) => Read::try_from(entry)?,
            None => last.clone(),
        };
        // The stream may have been trimmed, or begun anew, since the head was read.
        let first = if first.record.epoch == last.record.epoch { first } else { last.clone() };
        let mut search = Search { place: &place, subject: &subject, lo: first, hi: last.clone() };
        let begin =
            if is_kept(&search.lo) { search.lo.clone() } else { self.find(&mut search, covered, is_kept).await? };
        self.relieve(&place, &subject, &begin, ttl);
        let oldest = oldest_of(&begin, &last, covered, ttl, now);
        let end = range.before.map_or(head.offset + 1, |before| before.min(head.offset + 1));
        let wanted = match range.after {
            Some(after) => after.saturating_add(1).max(oldest),
            None => oldest.max(end.saturating_sub(range.limit as u64)),
        };
        if wanted >= end || range.limit == 0 {
            return Ok(nothing(oldest));
        }
        let start = if begin.record.end() >= wanted {
            begin
        } else {
            let mut search = Search { place: &place, subject: &subject, lo: begin, hi: last.clone() };
            self.find(&mut search, wanted, |read| read.record.end() >= wanted).await?
        };
        let end = end.min(wanted.saturating_add(range.limit as u64));
        let records = self.read_records(&place, &subject, start, &last, end).await?;
        let messages = messages_between(records, wanted, end, &position);
        Ok(HistoryPage { messages, head: position, oldest })
    }

    /// The head of a log, which begins now if it is not there; a log that is used is not forgotten.
    async fn head_or_mark(&self, key: &Key, group: LogGroup) -> Result<(Arc<Place>, String, Head, Read), EngineError> {
        loop {
            let place = self.link.place(Kind::Log(group)).await?;
            let subject = format!("{}.{}.h", place.root, key.tokens());
            let (head, is_old) = match self.read_head(key, &place, &subject).await? {
                HeadRead::Log(head, read) => {
                    let half = group.max_age().as_millis() as u64 / 2;
                    if read.stored + half > now() {
                        return Ok((place, subject, head, read));
                    }
                    (head, true)
                }
                HeadRead::Nothing => (Head::fresh(&place), false),
            };
            let record = mark(&head, false);
            match self.link.store(subject.clone(), record.encode(), Some(head.seq), false).await {
                Ok(seq) => {
                    let head = Head { seq, ..head };
                    if !is_old {
                        self.logs.learn(key, head.clone());
                    }
                    return Ok((place, subject, head, Read { seq, stored: now(), record }));
                }
                Err(StoreError::Conflict) => {}
                Err(StoreError::Missing) => self.link.streams.forget(Kind::Log(group)),
                Err(StoreError::Failed(error)) => return Err(error),
            }
        }
    }

    /// The first record that `is_wanted`, which all later ones are as well. `offset` is where it is guessed to be.
    async fn find(
        &self,
        search: &mut Search<'_>,
        offset: u64,
        is_wanted: impl Fn(&Read) -> bool,
    ) -> Result<Read, EngineError> {
        // Between the last record that is not wanted and the first that is.
        let mut end = search.hi.seq;
        for round in 0.. {
            let begin = search.lo.seq + 1;
            if begin >= end {
                break;
            }
            // Guesses by offset find their way in few steps; every other step halves, so that none takes long.
            let known = search.hi.record.first.saturating_sub(search.lo.record.first);
            let guess = if round % 2 == 0 && known > 0 {
                let part = offset.saturating_sub(search.lo.record.first).min(known);
                begin + (u128::from(part) * u128::from(end - begin) / u128::from(known)) as u64
            } else {
                begin + (end - begin) / 2
            };
            let guess = guess.clamp(begin, end - 1);
            match self.link.next(search.place, search.subject, guess).await? {
                Some(entry) if entry.seq < end => {
                    let read = Read::try_from(entry)?;
                    if is_wanted(&read) {
                        // None between the guess and this one.
                        end = guess;
                        search.hi = read;
                    } else {
                        search.lo = read;
                    }
                }
                _ => end = guess,
            }
        }
        Ok(search.hi.clone())
    }

    /// Records from `start` on, until one ends at `end - 1` or the last is reached.
    async fn read_records(
        &self,
        place: &Place,
        subject: &str,
        start: Read,
        last: &Read,
        end: u64,
    ) -> Result<Vec<Read>, EngineError> {
        let mut records = vec![start];
        loop {
            let newest = records.last().expect("it begins with one");
            if newest.record.end() + 1 >= end {
                return Ok(records);
            }
            if newest.seq >= last.seq {
                return Ok(records);
            }
            let from = newest.seq + 1;
            if records.len() <= FEW {
                let next = self.link.next(place, subject, from).await?;
                records.push(next.map_or_else(|| Ok(last.clone()), Read::try_from)?);
                continue;
            }
            let (entries, _) = self.link.read(place, subject.to_owned(), from, CHUNK).await?;
            if entries.is_empty() {
                records.push(last.clone());
            }
            for entry in entries {
                records.push(Read::try_from(entry)?);
            }
        }
    }

    /// Takes what has expired out of the stream, if the broker's clock agrees.
    fn relieve(&self, place: &Place, subject: &str, begin: &Read, ttl: u64) {
        if begin.stored + ttl < now() {
            let purge = place.stream.purge().filter(subject).sequence(begin.seq);
            self.runtime.spawn(async move {
                let _ = purge.await;
            });
        }
    }

    /// Takes records out of the stream that the log's size does not cover.
    pub async fn trim(self: Arc<Self>, key: Key, place: Arc<Place>, head: Head, size: u64) {
        let subject = format!("{}.{}.h", place.root, key.tokens());
        let covered = (head.offset + 1).saturating_sub(size);
        let trimmed = self.link.within("trim a log", async {
            let (Some(first), Some(last)) =
                (self.link.next(&place, &subject, 1).await?, self.link.latest(&place, &subject).await?)
            else {
                return Ok(());
            };
            let mut search =
                Search { place: &place, subject: &subject, lo: Read::try_from(first)?, hi: Read::try_from(last)? };
            if search.hi.record.epoch.as_ref() != Some(&head.epoch) || search.lo.record.end() >= covered {
                return Ok(());
            }
            let begin = self.find(&mut search, covered, |read| read.record.end() >= covered).await?;
            place.stream.purge().filter(&subject).sequence(begin.seq).await.map(|_| ()).map_err(unavailable)
        });
        if let Err(error) = trimmed.await {
            tracing::debug!(%error, "a log was not trimmed; the next time does it");
        }
    }

    /// Begins the log anew, in whichever stream it is.
    pub async fn clear(&self, key: &Key) -> Result<Position, EngineError> {
        self.link.within("clear history", self.try_clear(key)).await
    }

    async fn try_clear(&self, key: &Key) -> Result<Position, EngineError> {
        let mut newest: Option<(u64, Position)> = None;
        for group in self.link.log_groups().await? {
            self.logs.unlearn(key);
            loop {
                let place = self.link.place(Kind::Log(group)).await?;
                let subject = format!("{}.{}.h", place.root, key.tokens());
                let HeadRead::Log(head, read) = self.read_head(key, &place, &subject).await? else { break };
                let fresh = Head::fresh(&place);
                let position = Position { epoch: fresh.epoch.clone(), offset: 0 };
                match self.link.store(subject, mark(&fresh, true).encode(), Some(head.seq), true).await {
                    Ok(_) => {
                        if newest.as_ref().is_none_or(|(stored, _)| *stored <= read.stored) {
                            newest = Some((read.stored, position));
                        }
                        break;
                    }
                    Err(StoreError::Conflict) => {}
                    Err(StoreError::Missing) => break,
                    Err(StoreError::Failed(error)) => return Err(error),
                }
            }
        }
        match newest {
            Some((_, position)) => Ok(position),
            // There was no log: nobody has a position in it, and the next use begins one.
            None => {
                let position = Position { epoch: crate::streams::random_word().as_str().into(), offset: 0 };
                let control = Control::HistoryCleared { channel: key.channel.clone(), head: position.clone() };
                self.tell_all(&key.app, control).await?;
                Ok(position)
            }
        }
    }
}

/// The oldest message that is kept.
fn oldest_of(begin: &Read, last: &Read, covered: u64, ttl: u64, now: u64) -> u64 {
    let mut offset = begin.record.first;
    for message in &begin.record.messages {
        if offset >= covered && message.ts.saturating_add(ttl) > now {
            return offset;
        }
        offset += 1;
    }
    offset.clamp(covered.min(last.record.end() + 1), last.record.end() + 1)
}

fn messages_between(records: Vec<Read>, from: u64, end: u64, head: &Position) -> Vec<Arc<Message>> {
    let of_log = records.into_iter().filter(|read| read.record.epoch.as_ref() == Some(&head.epoch));
    let messages = of_log.flat_map(|read| read.record.positioned());
    let is_between = |message: &Message| message.position.as_ref().is_some_and(|p| (from..end).contains(&p.offset));
    messages.filter(is_between).map(Arc::new).collect()
}
