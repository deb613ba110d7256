//! JSON text to MessagePack, in two passes over the text and without recursion.
//!
//! MessagePack says how long an array or map is before its elements, JSON does not. The first pass counts the elements
//! of every array and object, in the order in which they open; the second one writes. Both put the elements in the
//! same order, so that the second pass needs no memory of where it is.

use rmp::encode;

use super::write::{INFALLIBLE, length};

/// Appends the value of well-formed JSON text.
pub(super) fn transcode(out: &mut Vec<u8>, json: &str) {
    let mut counts = count(json).into_iter();
    let mut unescaped = String::new();
    for token in (Tokens { rest: json }) {
        match token {
            Token::Object => {
                encode::write_map_len(out, counts.next().unwrap_or(0)).expect(INFALLIBLE);
            }
            Token::Array => {
                encode::write_array_len(out, counts.next().unwrap_or(0)).expect(INFALLIBLE);
            }
            Token::String(content) if content.as_bytes().contains(&b'\\') => {
                unescaped.clear();
                unescape(content, &mut unescaped);
                encode::write_str(out, &unescaped).expect(INFALLIBLE);
            }
            Token::String(content) => encode::write_str(out, content).expect(INFALLIBLE),
            Token::Literal("null") => encode::write_nil(out).expect(INFALLIBLE),
            Token::Literal("true") => encode::write_bool(out, true).expect(INFALLIBLE),
            Token::Literal("false") => encode::write_bool(out, false).expect(INFALLIBLE),
            Token::Literal(number) => write_number(out, number),
            Token::Comma | Token::End => {}
        }
    }
}

/// The numbers of members and elements of all objects and arrays.
fn count(json: &str) -> Vec<u32> {
    let mut counts: Vec<usize> = Vec::new();
    if !json.starts_with(['{', '[']) {
        return Vec::new();
    }
    let mut open = Vec::new();
    for token in (Tokens { rest: json }) {
        if token == Token::End {
            open.pop();
            continue;
        }
        if let Some(&innermost) = open.last() {
            let count: &mut usize = &mut counts[innermost];
            match token {
                Token::Comma => *count += 1,
                // The first one follows no comma.
                _ => *count = (*count).max(1),
            }
        }
        if matches!(token, Token::Object | Token::Array) {
            open.push(counts.len());
            counts.push(0);
        }
    }
    counts.into_iter().map(length).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Object,
    Array,
    End,
    Comma,
    /// What stands between the quotes.
    String(&'a str),
    /// A number, or one of the three words.
    Literal(&'a str),
}

/// Cuts well-formed JSON text into tokens; colons and white space are passed over.
///
/// Every cut is next to an ASCII character, so that it never falls into another one.
struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let bytes = self.rest.as_bytes();
        let start = bytes.iter().position(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b':'))?;
        let (token, end) = match bytes[start] {
            b'{' => (Token::Object, start + 1),
            b'[' => (Token::Array, start + 1),
            b'}' | b']' => (Token::End, start + 1),
            b',' => (Token::Comma, start + 1),
            b'"' => {
                let quote = string_end(bytes, start + 1);
                (Token::String(&self.rest[start + 1..quote]), (quote + 1).min(bytes.len()))
            }
            _ => {
                let end = literal_end(bytes, start + 1);
                (Token::Literal(&self.rest[start..end]), end)
            }
        };
        self.rest = &self.rest[end..];
        Some(token)
    }
}

/// Where the next quote is that is not escaped.
fn string_end(text: &[u8], start: usize) -> usize {
    let mut index = start;
    loop {
        match text.get(index) {
            None => return text.len(),
            Some(b'"') => return index,
            Some(b'\\') => index += 2,
            Some(_) => index += 1,
        }
    }
}

/// Where a number or a word ends.
fn literal_end(text: &[u8], start: usize) -> usize {
    let ends = |byte: &u8| byte.is_ascii() && !matches!(byte, b'+' | b'-' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'E');
    text[start..].iter().position(ends).map_or(text.len(), |len| start + len)
}

fn write_number(out: &mut Vec<u8>, number: &str) {
    // A whole zero has no sign.
    if let (Ok(number), true) = (number.parse::<i64>(), number != "-0") {
        encode::write_sint(out, number).expect(INFALLIBLE);
    } else if let Ok(number) = number.parse::<u64>() {
        encode::write_uint(out, number).expect(INFALLIBLE);
    } else {
        encode::write_f64(out, number.parse().unwrap_or(f64::NAN)).expect(INFALLIBLE);
    }
}

/// Appends what the content of a JSON string stands for.
fn unescape(mut content: &str, out: &mut String) {
    while let Some((plain, escaped)) = content.split_once('\\') {
        out.push_str(plain);
        let mut rest = escaped.chars();
        match rest.next() {
            Some('u') => {
                let (character, len) = unescape_unicode(escaped);
                out.push(character);
                content = escaped.get(len..).unwrap_or("");
                continue;
            }
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some(itself) => out.push(itself),
            None => {}
        }
        content = rest.as_str();
    }
    out.push_str(content);
}

/// The character of `uXXXX`, or of `uXXXX\uXXXX` for a surrogate pair, and the length of that.
fn unescape_unicode(escaped: &str) -> (char, usize) {
    let unit = |at: usize| escaped.get(at..at + 4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let Some(first) = unit(1) else { return (char::REPLACEMENT_CHARACTER, 1) };
    if let 0xD800..0xDC00 = first
        && escaped.get(5..7) == Some("\\u")
        && let Some(second @ 0xDC00..0xE000) = unit(7)
    {
        let point = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        return (char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER), 11);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 5)
}
