//! Streams of several channels: each event gets a cursor over all of them, which is one connection's own.

use bytes::{Buf, Bytes, BytesMut};
use starling_hub::Outbox;
use starling_proto::native::Cursor;

use crate::gzip;

/// Marks a frame that is complete: no event begins with it.
const COMPLETE: u8 = 1;

/// Completes the events of one stream. What all streams share comes without an `id:` and without its last line end.
pub(crate) struct Stamper {
    cursor: Cursor,
    /// Whether the stream is compressed.
    is_zipped: bool,
    /// Completed, and not yet with the socket.
    waiting: Bytes,
}

impl Stamper {
    /// For a stream that starts at `cursor`.
    pub fn new(cursor: Cursor, is_zipped: bool) -> Self {
        Self { cursor, is_zipped, waiting: Bytes::new() }
    }

    /// Marks what was complete before the stream had several channels: it goes out as it is.
    pub fn complete(frame: &[u8]) -> Bytes {
        let mut marked = BytesMut::with_capacity(frame.len() + 1);
        marked.extend_from_slice(&[COMPLETE]);
        marked.extend_from_slice(frame);
        marked.freeze()
    }

    /// Takes the next events from the outbox if none wait here; whether any wait now.
    pub fn fill(&mut self, out: &mut Outbox) -> bool {
        while self.waiting.is_empty() {
            let Some(mut events) = out.pop() else { return false };
            self.waiting = match events.first() {
                Some(&COMPLETE) => events.split_off(1),
                _ => self.stamp(&events),
            };
        }
        true
    }

    /// Has these bytes go first.
    pub fn begin_with(&mut self, head: Bytes) {
        self.waiting = head;
    }

    /// What is to be written next.
    pub fn waiting(&self) -> &[u8] {
        &self.waiting
    }

    /// So many bytes of it are with the socket.
    pub fn advance(&mut self, written: usize) {
        self.waiting.advance(written);
    }

    /// Writes events that lie behind each other, completed.
    pub fn stamp(&mut self, events: &[u8]) -> Bytes {
        let mut stamped = BytesMut::with_capacity(events.len() + 128);
        let mut lines = events.split_inclusive(|byte| *byte == b'\n').peekable();
        while let Some(line) = lines.next() {
            stamped.extend_from_slice(line);
            let Some(data) = line.strip_prefix(b"data: ") else { continue };
            // Complete events have an empty line, or an id, next: they are about the stream, and move no cursor.
            let is_message = !lines.peek().is_some_and(|next| *next == b"\n" || next.starts_with(b"id: "));
            if !is_message {
                continue;
            }
            if self.cursor.pass(data) {
                stamped.extend_from_slice(b"id: ");
                stamped.extend_from_slice(self.cursor.to_string().as_bytes());
                stamped.extend_from_slice(b"\n");
            }
            stamped.extend_from_slice(b"\n");
        }
        if self.is_zipped { gzip::part(&stamped) } else { stamped.freeze() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_complete_before_goes_out_as_it_is() {
        let mut outbox = Outbox::default();
        outbox.push(Bytes::from_static(b"data: {}\nid: x\n\n"));
        outbox.rewrite(&mut |frame| Stamper::complete(&frame));
        let mut stamper = Stamper::new(Cursor::default(), false);
        assert!(stamper.fill(&mut outbox));
        assert_eq!(stamper.waiting(), b"data: {}\nid: x\n\n");
    }

    #[test]
    fn messages_get_a_cursor_over_all_channels_and_other_events_none() {
        let mut stamper = Stamper::new(Cursor::default(), false);
        let events = concat!(
            "data: {\"type\":\"message\",\"channel\":\"a\",\"epoch\":\"x\",\"offset\":1}\n",
            "event: gap\ndata: {\"type\":\"gap\",\"channel\":\"a\",\"missed\":1}\n\n",
            "event: e\ndata: {\"type\":\"message\",\"channel\":\"b\",\"epoch\":\"y\",\"offset\":7}\n",
            ":\n\n",
        );
        let stamped = String::from_utf8(stamper.stamp(events.as_bytes()).to_vec()).unwrap();
        let blocks: Vec<&str> = stamped.split_terminator("\n\n").collect();
        assert_eq!(blocks.len(), 4, "{stamped}");
        let id = |block: &str| Cursor::parse(block.rsplit_once("id: ").unwrap().1).unwrap();
        let mut cursor = Cursor::default();
        cursor.set("a", "x", 1);
        assert_eq!(id(blocks[0]), cursor);
        assert!(!blocks[1].contains("id: "));
        cursor.set("b", "y", 7);
        assert_eq!(id(blocks[2]), cursor);
        assert_eq!(blocks[3], ":");
    }
}
