//! What a partition's records mean, whoever reads them and from where.

use starling_core::{AppId, ChannelName, MessageId, NodeId, Payload, RawJson};

use super::*;

const FORGET: u64 = 1_000_000;
const WINDOW: u64 = 1000;

struct Record {
    time: u64,
    stamp: Stamp,
    id: Option<&'static str>,
}

fn key() -> Key {
    Key { app: AppId::from("1"), channel: ChannelName::parse("room").unwrap() }
}

fn message(id: &str) -> Message {
    Message {
        app: key().app,
        channel: key().channel,
        id: MessageId::from(id),
        event: "message".into(),
        payload: Payload::Json(RawJson::null()),
        user: None,
        ts: 0,
        position: None,
        key: None,
        exclude: None,
    }
}

fn stamp(seq: u64, act: Act) -> Stamp {
    Stamp { by: NodeId::from("n"), seq, act }
}

fn publish(seen: Seen, remember: Option<u64>) -> Act {
    Act::Publish { size: 1000, ttl: u64::MAX, remember, forget: FORGET, seen }
}

/// Writes as nodes do that are some records behind.
#[derive(Default)]
struct Writer {
    records: Vec<Record>,
    truth: Partition,
    places: Vec<Option<Position>>,
    /// What the writer knows is as of so many records ago.
    known: VecDeque<Seen>,
}

impl Writer {
    fn seen(&mut self, lag: usize) -> Seen {
        self.known.push_back(self.truth.seen(&key()));
        while self.known.len() > lag + 1 {
            self.known.pop_front();
        }
        self.known[0].clone()
    }

    fn write(&mut self, time: u64, act: Act, id: Option<&'static str>) -> Option<Position> {
        let at = self.records.len() as u64;
        let record = Record { time, stamp: stamp(at, act), id };
        let meaning = self.truth.read(at, time, &key(), &record.stamp, id.map(message));
        self.records.push(record);
        let place = match meaning {
            Meaning::Message(message) => message.position.clone(),
            Meaning::Head(position) | Meaning::Cleared(position) => Some(position),
            _ => None,
        };
        self.places.push(place.clone());
        place
    }

    fn publish(&mut self, time: u64, lag: usize) -> Position {
        let seen = self.seen(lag);
        self.write(time, publish(seen, None), Some("m")).expect("a place")
    }
}

#[test]
fn a_node_that_starts_late_numbers_as_those_that_were_there() {
    let mut writer = Writer::default();
    for n in 0..200 {
        // Some ids are used twice, some writers are up to three records behind.
        let seen = writer.seen(n % 4);
        let remember = n.is_multiple_of(3).then_some(WINDOW);
        let id = ["a", "b", "c", "d", "e"][n / 7 % 5];
        writer.write(n as u64 * 100, publish(seen, remember), Some(id));
    }
    for first in 0..150 {
        // Deleted before `first`: a window and some records later all is as it was.
        let steady = if first == 0 { 0 } else { writer.records[first].time + WINDOW + 500 };
        let mut late = Partition::new(first as u64, steady);
        for (at, record) in writer.records.iter().enumerate().skip(first) {
            let meaning = late.read(at as u64, record.time, &key(), &record.stamp, record.id.map(message));
            let place = match meaning {
                Meaning::Message(message) => message.position.clone(),
                _ => None,
            };
            if record.time >= steady {
                assert_eq!(place, writer.places[at], "record {at}, read from {first}");
            }
        }
    }
}

#[test]
fn a_log_without_messages_is_forgotten_by_every_node_at_the_same_record() {
    let mut writer = Writer::default();
    let before = writer.publish(0, 0);
    let still = writer.publish(FORGET, 0);
    assert_eq!((&still.epoch, still.offset), (&before.epoch, 2));
    let anew = writer.publish(2 * FORGET + 1, 0);
    assert_ne!(anew.epoch, before.epoch);
    assert_eq!(anew.offset, 1);
    // A node that forgot the log earlier, and one that never knew it, say the same.
    let mut late = Partition::new(2, 0);
    let record = &writer.records[2];
    let meaning = late.read(2, record.time, &key(), &record.stamp, Some(message("m")));
    assert!(matches!(meaning, Meaning::Message(message) if message.position == Some(anew)));
}

#[test]
fn clearing_and_restarting_begin_epochs_and_what_was_seen_before_is_void() {
    let mut writer = Writer::default();
    let first = writer.publish(0, 0);
    let old = writer.seen(0);
    let cleared = writer.write(1, Act::Clear {}, None).unwrap();
    assert_eq!(cleared.offset, 0);
    let second = writer.publish(2, 0);
    assert_eq!((&second.epoch, second.offset), (&cleared.epoch, 1));
    assert_ne!(first.epoch, second.epoch);
    assert_eq!(writer.write(3, Act::Restart {}, None), None);
    let third = writer.write(4, publish(old, None), Some("m")).unwrap();
    assert!(third.epoch != first.epoch && third.epoch != second.epoch);
    assert_eq!(third.offset, 1);
    let seen = writer.seen(0);
    let begun = writer.write(5, Act::Begin { forget: FORGET, seen }, None).unwrap();
    assert_eq!(begun, third, "there is one");
}

#[test]
fn a_second_message_of_an_id_has_the_place_of_the_first_for_a_while() {
    let mut writer = Writer::default();
    let mut once = |time| {
        let seen = writer.seen(0);
        let at = writer.records.len() as u64;
        let stamp = stamp(at, publish(seen, Some(WINDOW)));
        let meaning = writer.truth.read(at, time, &key(), &stamp, Some(message("once")));
        writer.records.push(Record { time, stamp, id: Some("once") });
        match meaning {
            Meaning::Message(message) => (true, message.position.clone()),
            Meaning::Repeated(position) => (false, position),
            other => panic!("{other:?}"),
        }
    };
    let (is_new, first) = once(0);
    assert!(is_new);
    assert_eq!(once(WINDOW - 1), (false, first.clone()));
    let (is_new, second) = once(WINDOW);
    assert!(is_new);
    assert_eq!(second.unwrap().offset, first.unwrap().offset + 1);
}

#[test]
fn sweeping_takes_messages_older_than_their_ttl_and_keeps_the_head() {
    let mut partition = Partition::default();
    let seen = partition.seen(&key());
    let act = Act::Publish { size: 2, ttl: 100, remember: None, forget: FORGET, seen };
    for (at, ts) in [(0, 0), (1, 50), (2, 70)] {
        let message = Message { ts, ..message("m") };
        partition.read(at, 0, &key(), &stamp(at, act.clone()), Some(message));
    }
    let places = |partition: &Partition| {
        let log = partition.log(&key()).unwrap();
        (log.first_offset(), log.index.len(), log.head.as_ref().unwrap().offset)
    };
    assert_eq!(places(&partition), (2, 2, 3), "the size is 2");
    partition.sweep(160, FORGET);
    assert_eq!(places(&partition), (3, 1, 3));
    partition.sweep(FORGET + 1, FORGET);
    assert!(partition.log(&key()).is_none());
}
