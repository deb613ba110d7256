//! The few fields that the bare loop reads in messages of the native protocol.

/// Key of the channel, for [`field`].
pub const CHANNEL: &str = "\"channel\":";
/// Key of the payload, for [`field`].
pub const PAYLOAD: &str = "\"payload\":";
/// Key of the request's id, for [`field`].
pub const ID: &str = "\"id\":";

/// The raw value of a string or number in `text`, quotes included; `key` is the field's name as written, with quotes
/// and colon.
///
/// A search, not a parser: it is good for the messages written here, and costs the bare loop as little as can be.
pub fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let value = &text[text.find(key)? + key.len()..];
    let end = match value.strip_prefix('"') {
        Some(string) => string.find('"')? + 2,
        None => value.find([',', '}'])?,
    };
    value.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_in_a_publish() {
        let text = r#"{"type":"publish","channel":"room-1","payload":"sb:1 xx","id":9}"#;
        assert_eq!(field(text, CHANNEL), Some("\"room-1\""));
        assert_eq!(field(text, PAYLOAD), Some("\"sb:1 xx\""));
        assert_eq!(field(text, ID), Some("9"));
        assert_eq!(field("{}", ID), None);
    }
}
