//! Where in each partition this node reads: found at the start, and again when the brokers were away.
//!
//! A node goes on where it was, so it misses nothing. Unless Kafka does not have that place any more: its end is before
//! it (the broker lost records), its beginning is behind it (they were deleted while the node was away), or the record
//! that was last read is another one (the topic was made anew).

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use starling_core::EngineError;

use super::{Progress, Reader};
use crate::client::Consumer;
use crate::logs::Partition;
use crate::names::{Place, Topic};
use crate::shared::{Shared, now};
use crate::topics::{self, Obstacle};
use crate::wire::{Act, Stamp};

/// A number made of a stamp, for comparing.
pub(super) fn fingerprint(stamp: &Stamp) -> u64 {
    let bytes = stamp.by.as_str().bytes().chain(stamp.seq.to_be_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What became of the place in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// It is there.
    Same,
    /// Records were deleted that this node has not read.
    Gap,
    /// Records are gone that this node has read.
    Lost,
}

/// What must be made good when everything that there is now has been read.
pub(super) struct Damage {
    /// Where each partition ended.
    ends: Vec<(Place, u64)>,
    lost: HashSet<Place>,
    /// Of lost logs: the last restart that had been read before.
    restarts: Vec<(Place, Option<(String, u64)>)>,
}

impl Reader {
    /// Takes it that a partition holds other records than those that were read.
    pub(super) fn forget(&self, place: Place) {
        if let Some(progress) = self.places.get(&place) {
            progress.next.store(u64::MAX, Ordering::Release);
        }
    }
}

impl Progress {
    fn begin(&self, next: u64) {
        *self.last.lock() = None;
        self.next.store(next, Ordering::Release);
    }

    /// Where to read from: the last record again, if it must still be there.
    fn resume(&self, low: u64) -> u64 {
        let last = self.last.lock().map(|(at, ..)| at).filter(|at| *at >= low);
        last.unwrap_or_else(|| self.next.load(Ordering::Acquire))
    }
}

impl Shared {
    /// Begins to read; returns where the partitions end.
    pub(super) fn place_first(&self, consumer: &Consumer) -> Result<Vec<(Place, u64)>, Obstacle> {
        let bounds = self.bounds(consumer)?;
        let recent = self.recent_places(consumer)?;
        let mut starts = Vec::new();
        for (place, low, high) in &bounds {
            let start = match place.topic {
                Topic::Log | Topic::Presence | Topic::Notes => *low,
                Topic::Live | Topic::Nodes => recent.get(place).copied().unwrap_or(*high).clamp(*low, *high),
            };
            self.begin_at(*place, start);
            starts.push((*place, start));
        }
        self.assign(consumer, &starts)?;
        Ok(bounds.into_iter().map(|(place, _, high)| (place, high)).collect())
    }

    /// Goes on after the brokers were away, or the library lost its place.
    pub(super) fn place_again(&self, consumer: &Consumer) -> Result<Option<Damage>, Obstacle> {
        topics::ensure_again(&self.options, &self.writer.context(), consumer)?;
        let mut damage = Damage { ends: Vec::new(), lost: HashSet::new(), restarts: Vec::new() };
        let (mut starts, mut is_damaged) = (Vec::new(), false);
        for (place, low, high) in self.bounds(consumer)? {
            let Some(progress) = self.reader.places.get(&place) else { continue };
            let next = progress.next.load(Ordering::Acquire);
            let found = match next {
                _ if next > high => Found::Lost,
                _ if next < low => Found::Gap,
                _ => Found::Same,
            };
            if found != Found::Same {
                is_damaged = true;
                tracing::warn!(%place, next, low, high, ?found, "Kafka: records are gone");
            }
            if found == Found::Lost {
                damage.lost.insert(place);
                if place.topic == Topic::Log {
                    let before = self.logs[place.partition as usize].lock().last_restart.clone();
                    damage.restarts.push((place, before));
                }
            }
            let start = match (found, place.topic) {
                (Found::Same, _) => progress.resume(low),
                // What passed by while the place was lost is not done twice.
                (Found::Lost, Topic::Live | Topic::Nodes) => high,
                (Found::Gap | Found::Lost, _) => low,
            };
            if found != Found::Same {
                self.begin_at(place, start);
            }
            starts.push((place, start));
            damage.ends.push((place, high));
        }
        if is_damaged {
            self.signals.ready.store(false, Ordering::Release);
        }
        self.assign(consumer, &starts)?;
        Ok(is_damaged.then_some(damage))
    }

    /// What was read is void: everything is read again from `start`.
    fn begin_at(&self, place: Place, start: u64) {
        let partition = place.partition as usize;
        match place.topic {
            Topic::Log => {
                // What was deleted is older than the retention; what is younger than this cannot depend on it.
                let steady =
                    if start == 0 { 0 } else { now().saturating_sub(self.options.forget().as_millis() as u64) };
                *self.logs[partition].lock() = Partition::new(start, steady);
            }
            Topic::Live => *self.live[partition].lock() = Default::default(),
            Topic::Presence => self.presence.forget_all(partition),
            Topic::Notes => self.notes.forget_all(),
            Topic::Nodes => {}
        }
        if let Some(progress) = self.reader.places.get(&place) {
            progress.begin(start);
        }
    }

    fn bounds(&self, consumer: &Consumer) -> Result<Vec<(Place, u64, u64)>, Obstacle> {
        let mut places: Vec<Place> = self.reader.places.keys().copied().collect();
        places.sort_unstable();
        let bounds = places.into_iter().map(|place| {
            let topic = self.writer.topic(place.topic);
            let (low, high) = consumer.fetch_watermarks(topic, place.partition, self.options.timeout)?;
            Ok((place, low.max(0) as u64, high.max(0) as u64))
        });
        bounds.collect()
    }

    /// Where to begin in topics of which only the last minutes matter.
    fn recent_places(&self, consumer: &Consumer) -> Result<std::collections::HashMap<Place, u64>, Obstacle> {
        let mut times = TopicPartitionList::new();
        for place in self.reader.places.keys() {
            let ago = match place.topic {
                Topic::Live => self.options.window.as_millis() as u64 + 60_000,
                Topic::Nodes => 2 * self.options.lease.as_millis() as u64,
                Topic::Log | Topic::Presence | Topic::Notes => continue,
            };
            let time = Offset::Offset(now().saturating_sub(ago) as i64);
            times.add_partition_offset(self.writer.topic(place.topic), place.partition, time)?;
        }
        let found = consumer.offsets_for_times(times, self.options.timeout)?;
        let elements = found.elements();
        let places = elements.iter().filter_map(|element| {
            let topic = Topic::ALL.into_iter().find(|topic| self.writer.topic(*topic) == element.topic())?;
            let Offset::Offset(offset) = element.offset() else { return None };
            Some((Place { topic, partition: element.partition() }, offset.max(0) as u64))
        });
        Ok(places.collect())
    }

    fn assign(&self, consumer: &Consumer, starts: &[(Place, u64)]) -> Result<(), Obstacle> {
        let mut places = TopicPartitionList::new();
        for (place, start) in starts {
            let offset = Offset::Offset(*start as i64);
            places.add_partition_offset(self.writer.topic(place.topic), place.partition, offset)?;
        }
        // Taken back first: what the library has fetched already is of other places.
        consumer.unassign()?;
        consumer.assign(&places)?;
        Ok(())
    }

    /// Makes good what was lost, and tells members to look for themselves.
    pub(super) async fn repair(self: Arc<Self>, damage: Damage) {
        for (place, end) in &damage.ends {
            self.reach(*place, *end).await;
        }
        for (place, before) in damage.restarts {
            // Another node may have seen it first.
            if self.logs[place.partition as usize].lock().last_restart != before {
                continue;
            }
            tracing::error!(%place, "Kafka lost messages of logs; new epochs begin");
            if let Err(error) = self.insist(place).await {
                return tracing::debug!(%error, "Kafka is away again");
            }
        }
        self.signals.ready.store(true, Ordering::Release);
        if damage.lost.iter().any(|place| place.topic == Topic::Presence) {
            self.restore_all();
        }
        if let Some(sink) = self.sink.get() {
            sink.resync();
        }
    }

    async fn insist(&self, place: Place) -> Result<(), EngineError> {
        self.writer.done(place, b"restart\0restart", Act::Restart {}, None).await.map(drop)
    }
}
