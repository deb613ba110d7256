//! What was given to connections lately, in its order, so that a session that lost its transport can be told exactly
//! what it has not got.
//!
//! A worker notes what it spreads to the members of a channel once, and what it gives to one connection under that
//! connection. The client of a lost session names the last message that it got: whatever follows that message in the
//! notes did not arrive. A heartbeat that was answered shows that all before it did, so that notes are needed no further
//! back than that.

use std::collections::VecDeque;

use starling_core::{ChannelName, Epoch, Position};

/// Notes of one worker; the oldest give way. Sessions that would need them cannot be resumed.
const NOTES: usize = 16_384;
/// Notes that are kept of one lost session; one that was given more since its last heartbeat cannot be resumed.
const TRAIL: usize = 1024;
/// For no particular connection: every live member of the channel.
pub(crate) const EVERYBODY: u32 = u32::MAX;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Messages of a log, by their offsets, both included.
    Given(u64, u64),
    /// Something that no log has, and that nobody can be given again.
    Told,
    /// The same, with a mark that the client can name.
    Marked(u64),
    /// The connection gets from here on what is given to everybody.
    Live,
    /// It was among them until here.
    Left,
}

/// One note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    /// The number of the channel.
    pub channel: u32,
    /// Of which connection, or [`EVERYBODY`].
    pub connection: u32,
    /// Of which log; that of a mark is none.
    pub epoch: Option<Epoch>,
    pub deed: Deed,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    notes: VecDeque<Note>,
    /// The number of the first note.
    first: u64,
    /// Connections whose sessions could be resumed; without any, nothing is noted.
    watched: usize,
}

impl Journal {
    pub fn is_kept(&self) -> bool {
        self.watched > 0
    }

    /// A connection is watched from now on.
    pub fn watch(&mut self) {
        self.watched += 1;
    }

    pub fn unwatch(&mut self) {
        self.watched -= 1;
        if self.watched == 0 {
            self.first = self.next();
            self.notes = VecDeque::new();
        }
    }

    /// The number of the next note.
    pub fn next(&self) -> u64 {
        self.first + self.notes.len() as u64
    }

    pub fn note(&mut self, note: Note) {
        if self.watched == 0 {
            return;
        }
        if self.notes.len() == NOTES {
            self.notes.pop_front();
            self.first += 1;
        }
        self.notes.push_back(note);
    }

    /// What concerns a connection since the note of that number; `channels` are those that it is in. `None`: not all of
    /// that is known any more.
    pub fn trail(&self, connection: u32, since: u64, channels: &[u32]) -> Option<Vec<Note>> {
        let from = usize::try_from(since.checked_sub(self.first)?).ok()?;
        let notes = || self.notes.iter().skip(from);
        let own = |note: &&Note| note.connection == connection;
        let left: Vec<u32> =
            notes().filter(own).filter(|note| note.deed == Deed::Left).map(|note| note.channel).collect();
        let concerns = |note: &&Note| {
            own(note)
                || (note.connection == EVERYBODY && (channels.contains(&note.channel) || left.contains(&note.channel)))
        };
        let trail: Vec<Note> = notes().filter(concerns).take(TRAIL + 1).cloned().collect();
        (trail.len() <= TRAIL).then_some(trail)
    }
}

/// A channel that a lost session was in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Room {
    pub channel: ChannelName,
    pub number: u32,
    /// Up to where it was given everything.
    pub position: Position,
    /// Whether it got what is given to everybody when it was lost.
    pub live: bool,
    /// Whether it followed presence.
    pub watching: bool,
}

/// Up to where the client has everything, in each channel, if `after` (as `epoch:offset`) is the last message that it
/// got. `None`: that is not known, or something was lost that no log has.
///
/// `always`: a channel without a log of which it got what is given to everybody. `may_repeat`: messages may have been given twice, so that one that was read from a log proves nothing.
pub(crate) fn resolve(
    rooms: &[Room],
    always: Option<u32>,
    trail: &[Note],
    after: Option<&str>,
    may_repeat: bool,
) -> Option<Vec<Room>> {
    let last = match after {
        Some(text) => {
            let (epoch, offset) = text.rsplit_once(':')?;
            Some((epoch, offset.parse::<u64>().ok()?))
        }
        None => None,
    };
    let mut rooms = rooms.to_vec();
    // Channels of which the client got, at the note that is looked at, what was given to everybody.
    let mut live: Vec<u32> = rooms.iter().filter(|room| room.live).map(|room| room.number).collect();
    live.extend(always);
    for note in trail.iter().rev() {
        let own = note.connection != EVERYBODY;
        match note.deed {
            Deed::Left => live.push(note.channel),
            Deed::Live => live.retain(|channel| *channel != note.channel),
            _ if !own && !live.contains(&note.channel) => {}
            Deed::Told => return None,
            Deed::Marked(number) => {
                let epoch = note.epoch.as_ref()?;
                // Everything before it went the same way, and arrived as well.
                return (last == Some((epoch.as_str(), number))).then_some(rooms);
            }
            Deed::Given(from, to) => {
                let epoch = note.epoch.as_ref()?;
                let got = last.filter(|(known, offset)| *known == epoch.as_str() && (from..=to).contains(offset));
                if let Some(room) = rooms.iter_mut().find(|room| room.number == note.channel) {
                    if room.position.epoch != *epoch {
                        // The log that had it is gone.
                        return None;
                    }
                    room.position.offset = got.map_or(from - 1, |(_, offset)| offset);
                }
                if got.is_some() {
                    return (!own || !may_repeat).then_some(rooms);
                }
            }
        }
    }
    // The last message came before all of this.
    Some(rooms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: u32 = 7;

    fn note(channel: u32, connection: u32, deed: Deed) -> Note {
        let epoch = matches!(deed, Deed::Given(..)).then(|| Epoch::new(format!("e{channel}")));
        Note { channel, connection, epoch, deed }
    }

    fn room(number: u32, offset: u64) -> Room {
        let epoch = Epoch::new(format!("e{number}"));
        let channel = ChannelName::parse(&format!("c{number}")).unwrap();
        Room { channel, number, position: Position { epoch, offset }, live: true, watching: false }
    }

    fn offsets(rooms: &[Room], trail: &[Note], after: Option<&str>, may_repeat: bool) -> Option<Vec<u64>> {
        let rooms = resolve(rooms, Some(99), trail, after, may_repeat)?;
        Some(rooms.iter().map(|room| room.position.offset).collect())
    }

    #[test]
    fn what_follows_the_last_message_did_not_arrive() {
        use Deed::*;
        let rooms = [room(1, 5), room(2, 9)];
        let trail = [
            note(1, EVERYBODY, Given(3, 3)),
            note(2, EVERYBODY, Given(7, 8)),
            note(1, EVERYBODY, Given(4, 5)),
            note(2, EVERYBODY, Given(9, 9)),
        ];
        for (after, expected) in [
            (Some("e2:9"), Some(vec![5, 9])),
            (Some("e1:5"), Some(vec![5, 8])),
            (Some("e1:4"), Some(vec![4, 8])),
            (Some("e2:8"), Some(vec![3, 8])),
            (Some("e2:7"), Some(vec![3, 7])),
            (Some("e1:3"), Some(vec![3, 6])),
            (Some("e1:2"), Some(vec![2, 6])),
            (None, Some(vec![2, 6])),
            (Some("other:1"), Some(vec![2, 6])),
            (Some("no position"), None),
            (Some("e1:x"), None),
            (Some(""), None),
        ] {
            assert_eq!(offsets(&rooms, &trail, after, false), expected, "{after:?}");
        }
    }

    #[test]
    fn what_no_log_has_must_have_arrived() {
        use Deed::*;
        let trail = [note(1, EVERYBODY, Given(1, 1)), note(9, ME, Told), note(1, EVERYBODY, Given(2, 2))];
        assert_eq!(offsets(&[room(1, 2)], &trail, Some("e1:2"), false), Some(vec![2]));
        assert_eq!(offsets(&[room(1, 2)], &trail, Some("e1:1"), false), None);
        assert_eq!(offsets(&[room(1, 2)], &trail, None, false), None);
        let others = [note(3, EVERYBODY, Told), note(1, EVERYBODY, Given(2, 2))];
        assert_eq!(offsets(&[room(1, 2)], &others, None, false), Some(vec![1]), "it was not in that channel");
        let always = [note(1, EVERYBODY, Given(1, 1)), note(99, EVERYBODY, Told), note(1, EVERYBODY, Given(2, 2))];
        assert_eq!(offsets(&[room(1, 2)], &always, Some("e1:1"), false), None);
        assert_eq!(offsets(&[room(1, 2)], &always, Some("e1:2"), false), Some(vec![2]));
    }

    #[test]
    fn a_mark_shows_that_all_before_it_arrived() {
        use Deed::*;
        let mark =
            |number| Note { channel: EVERYBODY, connection: ME, epoch: Some(Epoch::from("~0")), deed: Marked(number) };
        let trail = [note(9, ME, Told), note(1, EVERYBODY, Given(1, 1)), mark(6), note(1, EVERYBODY, Given(2, 2))];
        for (after, expected) in [
            (Some("~0:6"), Some(vec![1])),
            (Some("e1:2"), Some(vec![2])),
            (Some("e1:1"), None),
            (Some("~0:5"), None),
            (Some("~1:6"), None),
            (None, None),
        ] {
            assert_eq!(offsets(&[room(1, 2)], &trail, after, false), expected, "{after:?}");
        }
    }

    #[test]
    fn reading_a_log_is_apart_from_what_everybody_is_given() {
        use Deed::*;
        // It read 1 to 3 while others were given 3 and 4 of the same channel, and went live at 4.
        let trail = [
            note(2, EVERYBODY, Given(1, 1)),
            note(1, ME, Given(1, 3)),
            note(2, EVERYBODY, Given(2, 2)),
            note(1, EVERYBODY, Given(3, 3)),
            note(1, ME, Live),
            note(1, EVERYBODY, Given(4, 4)),
        ];
        let rooms = [room(1, 4), room(2, 2)];
        assert_eq!(offsets(&rooms, &trail, Some("e1:4"), false), Some(vec![4, 2]));
        assert_eq!(offsets(&rooms, &trail, Some("e2:2"), false), Some(vec![3, 2]));
        assert_eq!(offsets(&rooms, &trail, Some("e1:3"), false), Some(vec![3, 1]), "read, not given to everybody");
        assert_eq!(offsets(&rooms, &trail, Some("e1:3"), true), None, "it may have had that before");
        assert_eq!(offsets(&rooms, &trail, None, false), Some(vec![0, 0]));
    }

    #[test]
    fn a_channel_that_was_left_still_proves_what_came_before() {
        use Deed::*;
        let trail = [
            note(2, EVERYBODY, Given(5, 5)),
            note(1, EVERYBODY, Given(7, 7)),
            note(1, ME, Left),
            note(1, EVERYBODY, Given(8, 8)),
        ];
        assert_eq!(offsets(&[room(2, 5)], &trail, Some("e1:7"), false), Some(vec![5]));
        assert_eq!(offsets(&[room(2, 5)], &trail, Some("e1:6"), false), Some(vec![4]));
    }

    #[test]
    fn another_log_cannot_be_read_again() {
        use Deed::*;
        let mut rooms = [room(1, 2)];
        rooms[0].position.epoch = Epoch::from("new");
        let trail = [note(1, EVERYBODY, Given(9, 9))];
        assert_eq!(offsets(&rooms, &trail, None, false), None);
        assert_eq!(offsets(&rooms, &[], Some("e1:9"), false), Some(vec![2]));
    }

    #[test]
    fn notes_are_bounded_and_only_kept_for_somebody() {
        let mut journal = Journal::default();
        journal.note(note(1, EVERYBODY, Deed::Told));
        assert_eq!(journal.next(), 0);
        journal.watch();
        let start = journal.next();
        for offset in 1..=10 {
            journal.note(note(1 + offset as u32 % 2, EVERYBODY, Deed::Given(offset, offset)));
        }
        assert_eq!(journal.trail(ME, start, &[1]).map(|trail| trail.len()), Some(5));
        journal.note(note(2, ME, Deed::Left));
        assert_eq!(journal.trail(ME, start, &[1]).map(|trail| trail.len()), Some(11));
        assert_eq!(journal.trail(ME, start + 9, &[1]).map(|trail| trail.len()), Some(2));
        for offset in 0..TRAIL as u64 + 1 {
            journal.note(note(3, EVERYBODY, Deed::Given(offset, offset)));
        }
        assert_eq!(journal.trail(ME, start, &[3]), None, "too long to be kept");
        for offset in 0..NOTES as u64 {
            journal.note(note(4, EVERYBODY, Deed::Given(offset, offset)));
        }
        assert_eq!(journal.trail(ME, start, &[1]), None, "forgotten");
        journal.unwatch();
        assert_eq!((journal.notes.len(), journal.is_kept()), (0, false));
    }
}
