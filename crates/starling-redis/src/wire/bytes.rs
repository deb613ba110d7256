//! Bytes, numbers and texts, one after the other.

use bytes::Bytes;

use super::Unreadable;

/// Appends.
#[derive(Default)]
pub(crate) struct Writer(pub Vec<u8>);

impl Writer {
    pub fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// LEB128: seven bits in a byte, the lowest first; the highest bit says that more follow.
    pub fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// A text that may be missing: its length plus one, or 0.
    pub fn optional(&mut self, text: Option<&str>) {
        match text {
            Some(text) => {
                self.number(text.len() as u64 + 1);
                self.0.extend_from_slice(text.as_bytes());
            }
            None => self.number(0),
        }
    }

    pub fn list<T>(&mut self, items: &[T], encode: impl Fn(&T, &mut Self)) {
        self.number(items.len() as u64);
        items.iter().for_each(|item| encode(item, self));
    }
}

/// Takes from the front.
pub(crate) struct Reader(Bytes);

impl Reader {
    pub fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub fn byte(&mut self) -> Result<u8, Unreadable> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub fn number(&mut self) -> Result<u64, Unreadable> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Unreadable::Foreign)
    }

    fn length(&mut self) -> Result<usize, Unreadable> {
        usize::try_from(self.number()?).map_err(|_| Unreadable::Foreign)
    }

    /// So many bytes, without a copy.
    fn take(&mut self, count: usize) -> Result<Bytes, Unreadable> {
        if count > self.0.len() {
            return Err(Unreadable::Foreign);
        }
        Ok(self.0.split_to(count))
    }

    pub fn bytes(&mut self) -> Result<Bytes, Unreadable> {
        let count = self.length()?;
        self.take(count)
    }

    pub fn text(&mut self) -> Result<String, Unreadable> {
        text(&self.bytes()?)
    }

    pub fn optional(&mut self) -> Result<Option<String>, Unreadable> {
        match self.length()? {
            0 => Ok(None),
            count => text(&self.take(count - 1)?).map(Some),
        }
    }

    pub fn list<T>(&mut self, decode: impl Fn(&mut Self) -> Result<T, Unreadable>) -> Result<Vec<T>, Unreadable> {
        let count = self.length()?;
        // Nothing is allocated for items that cannot be there: each has at least one byte.
        if count > self.0.len() {
            return Err(Unreadable::Foreign);
        }
        (0..count).map(|_| decode(self)).collect()
    }

    /// The text up to the next space, which is taken too; or up to the end.
    pub fn word(&mut self) -> Result<String, Unreadable> {
        let end = self.0.iter().position(|byte| *byte == b' ');
        let word = self.take(end.unwrap_or(self.0.len()))?;
        if end.is_some() {
            self.byte()?;
        }
        if word.is_empty() { Err(Unreadable::Foreign) } else { text(&word) }
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.0)
    }
}

fn text(bytes: &[u8]) -> Result<String, Unreadable> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Unreadable::Foreign)
}
