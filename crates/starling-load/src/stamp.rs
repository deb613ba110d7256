//! What a message carries to prove its order: a text of fixed layout inside the payload, found without parsing.
//!
//! ```text
//! sb:0f3a9c21:000007:00000042:000001234567:xxxxxxxx
//!    publisher channel number  microseconds padding
//! ```
//!
//! It has no character that any protocol escapes, so it reads the same in a JSON string, in JSON text inside of a JSON
//! string, and in an event stream.

use std::fmt::Write as _;

/// What every stamp begins with.
const MARK: &[u8] = b"sb:";
/// Bytes of a stamp without padding.
pub const STAMP_LEN: usize = 41;

/// What a message says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Who published it: a random number of the run. Messages of another publisher are not the run's.
    pub publisher: u32,
    /// Number of the channel, from 0, at most six digits.
    pub channel: u32,
    /// Number of the message in its channel, from 1, at most eight digits.
    pub number: u32,
    /// When it was due to be published, in microseconds since the run began, at most twelve digits.
    pub micros: u64,
}

impl Stamp {
    /// Appends the stamp, padded to `len` bytes (at least [`STAMP_LEN`]).
    pub fn write(&self, out: &mut String, len: usize) {
        let Self { publisher, channel, number, micros } = *self;
        let pad = len.saturating_sub(STAMP_LEN);
        let _ = write!(out, "sb:{publisher:08x}:{channel:06}:{number:08}:{micros:012}:");
        out.extend(std::iter::repeat_n('x', pad));
    }

    fn read(text: &[u8]) -> Option<Self> {
        let fields = text.strip_prefix(MARK)?.get(..STAMP_LEN - MARK.len())?;
        let colons = [8, 15, 24, 37].iter().all(|&at| fields[at] == b':');
        let publisher = std::str::from_utf8(&fields[..8]).ok()?;
        colons.then_some(Self {
            publisher: u32::from_str_radix(publisher, 16).ok()?,
            channel: digits(&fields[9..15])? as u32,
            number: digits(&fields[16..24])? as u32,
            micros: digits(&fields[25..37])?,
        })
    }
}

fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0, |sum: u64, digit| digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0')))
}

/// Finds stamps, expecting each where the last one was: in one run nearly all messages look alike.
#[derive(Debug, Default)]
pub struct StampReader {
    at: usize,
}

impl StampReader {
    /// The stamp at the place of the last one, without a search.
    pub fn read_again(&self, message: &[u8]) -> Option<Stamp> {
        Stamp::read(message.get(self.at..)?)
    }

    /// The stamp in `message`, wherever it is.
    pub fn find(&mut self, message: &[u8]) -> Option<Stamp> {
        let candidates = message.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
        let (at, stamp) = candidates.map(|(at, _)| (at, Stamp::read(&message[at..]))).find(|(_, s)| s.is_some())?;
        self.at = at;
        stamp
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written_in_the_length_asked_for() {
        let stamp = Stamp { publisher: 0x00f3_a9c2, channel: 999_999, number: 99_999_999, micros: 999_999_999_999 };
        for len in [STAMP_LEN, 128, 100_000] {
            let mut text = String::new();
            stamp.write(&mut text, len);
            assert_eq!(text.len(), len);
            let message = format!(r#"{{"type":"message","id":"sb:no","payload":"{text}"}}"#);
            let mut reader = StampReader::default();
            assert_eq!(reader.read_again(message.as_bytes()), None);
            assert_eq!(reader.find(message.as_bytes()), Some(stamp));
            assert_eq!(reader.read_again(message.as_bytes()), Some(stamp));
        }
    }

    #[test]
    fn what_is_no_stamp_is_not_taken_for_one() {
        for text in
            ["", "sb:", "sb:0000000g:000001:00000001:000000000001:", "sb:00000000:000001:00000001:00000000000x:"]
        {
            assert_eq!(StampReader::default().find(text.as_bytes()), None, "{text}");
        }
    }
}
