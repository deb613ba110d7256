//! The format of `text/event-stream` (HTML standard, section 9.2): bytes in, events out.

/// One event of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StreamEvent {
    /// `message` unless the stream names another.
    pub(super) name: String,
    pub(super) data: String,
}

/// Takes a stream in pieces of any size. `id` and `retry` are not looked at.
#[derive(Debug)]
pub(super) struct EventReader {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// Whether a carriage return was the last byte: a line feed behind it belongs to it.
    is_behind_return: bool,
    is_first_line: bool,
    name: String,
    data: Option<String>,
    /// The most bytes of an event.
    most: usize,
}

impl EventReader {
    /// A reader of events of at most so many bytes.
    pub(super) fn new(most: usize) -> Self {
        Self { line: Vec::new(), is_behind_return: false, is_first_line: true, name: String::new(), data: None, most }
    }

    /// Appends the events that end in this piece to `out`.
    ///
    /// # Errors
    ///
    /// What is wrong with the stream: an event is too long, or no UTF-8.
    pub(super) fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<StreamEvent>) -> Result<(), String> {
        if self.is_behind_return && !bytes.is_empty() {
            self.is_behind_return = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.extend(&bytes[..end])?;
            let is_return = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            if is_return {
                self.is_behind_return = bytes.is_empty();
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
            self.end_line(out)?;
        }
        self.extend(bytes)
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), String> {
        if self.line.len() + self.data.as_ref().map_or(0, String::len) + bytes.len() > self.most {
            return Err(format!("an event of more than {} bytes", self.most));
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self, out: &mut Vec<StreamEvent>) -> Result<(), String> {
        let line = std::mem::take(&mut self.line);
        let mut line = std::str::from_utf8(&line).map_err(|_| "the event stream is not UTF-8")?;
        if std::mem::take(&mut self.is_first_line) {
            line = line.trim_start_matches('\u{feff}');
        }
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            // A name without data is no event.
            if let Some(data) = self.data.take() {
                let name = if name.is_empty() { "message".to_owned() } else { name };
                out.push(StreamEvent { name, data });
            }
            return Ok(());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match (field, &mut self.data) {
            ("event", _) => self.name = value.to_owned(),
            ("data", Some(data)) => {
                data.push('\n');
                data.push_str(value);
            }
            ("data", data) => *data = Some(value.to_owned()),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> StreamEvent {
        StreamEvent { name: name.into(), data: data.into() }
    }

    #[test]
    fn events_are_read_in_pieces_of_any_size() {
        let stream = "\u{feff}: comment\n\nevent: ready\ndata: {}\nid: 5\n\ndata:a\ndata: b\r\n\r\ndata\rretry: 1\r\revent: no data\n\n\
                      data: é\n\nevent: x\n: comment\ndata:  two\n\ndata: not the end";
        let expected = [
            event("ready", "{}"),
            event("message", "a\nb"),
            event("message", ""),
            event("message", "é"),
            event("x", " two"),
        ];
        for size in 1..stream.len() {
            let mut reader = EventReader::new(100);
            let mut events = Vec::new();
            for piece in stream.as_bytes().chunks(size) {
                reader.feed(piece, &mut events).unwrap();
            }
            assert_eq!(events, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_too_long_or_no_text_is_refused() {
        let mut events = Vec::new();
        let mut reader = EventReader::new(16);
        reader.feed(b"data: 0123456789\n\n", &mut events).unwrap();
        assert_eq!(events, [event("message", "0123456789")]);
        assert!(reader.feed(b"data: 0123456789a", &mut events).is_err());
        let mut reader = EventReader::new(16);
        reader.feed(b"data: 0123456\ndata: 890", &mut events).unwrap();
        assert!(reader.feed(b"a", &mut events).is_err(), "of all lines together");
        assert!(EventReader::new(16).feed(b"data: \xff\n", &mut events).is_err());
    }

    #[test]
    fn nothing_makes_it_panic() {
        let mut state = 1u32;
        for _ in 0..2000 {
            let mut reader = EventReader::new(32);
            let mut events = Vec::new();
            for _ in 0..8 {
                // An ordinary linear congruential generator: the same on every run.
                let piece: Vec<u8> = (0..8)
                    .map(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        b"\n\r: dataevnt\xc3\xa9\xff"[(state >> 24) as usize % 15]
                    })
                    .collect();
                if reader.feed(&piece, &mut events).is_err() {
                    break;
                }
            }
        }
    }
}
