//! The text of one Socket.IO packet, taken apart: `<type>[<attachments>-][<namespace>,][<id>][JSON]`.

use super::MAX_ACK_DIGITS;

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Connect,
    Disconnect,
    Event,
    Ack,
    ConnectError,
    BinaryEvent,
    BinaryAck,
}

/// A packet, every part of it a slice of its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head<'a> {
    pub kind: Kind,
    /// How many binary packets follow.
    pub attachments: usize,
    /// With the slash.
    pub namespace: &'a str,
    /// The number under which an ack is awaited, or given.
    pub id: Option<&'a str>,
    /// JSON text; empty if there is none.
    pub data: &'a str,
}

/// The text is no packet of the protocol: the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Bytes that a text needs to mention one attachment.
const PLACEHOLDER_BYTES: usize = r#"{"_placeholder":true,"num":0}"#.len();

impl<'a> Head<'a> {
    /// Takes a text apart, behind the Engine.IO type.
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        let kind = match text.bytes().next().ok_or(Malformed)? {
            b'0' => Kind::Connect,
            b'1' => Kind::Disconnect,
            b'2' => Kind::Event,
            b'3' => Kind::Ack,
            b'4' => Kind::ConnectError,
            b'5' => Kind::BinaryEvent,
            b'6' => Kind::BinaryAck,
            _ => return Err(Malformed),
        };
        let mut rest = &text[1..];
        let mut attachments = 0;
        if matches!(kind, Kind::BinaryEvent | Kind::BinaryAck) {
            let (count, after) = rest.split_once('-').ok_or(Malformed)?;
            if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(Malformed);
            }
            attachments = count.parse().map_err(|_| Malformed)?;
            // A packet that announces more than it can mention would have us wait, and keep, for nothing.
            if attachments > after.len() / PLACEHOLDER_BYTES {
                return Err(Malformed);
            }
            rest = after;
        }
        let mut namespace = "/";
        if rest.starts_with('/') {
            (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (id, data) = rest.split_at(digits);
        if digits > MAX_ACK_DIGITS {
            return Err(Malformed);
        }
        let id = (digits > 0).then_some(id);
        Ok(Self { kind, attachments, namespace, id, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_taken_apart() {
        use Kind::*;
        for (text, kind, attachments, namespace, id, data) in [
            ("0", Connect, 0, "/", None, ""),
            (r#"0{"token":"x"}"#, Connect, 0, "/", None, r#"{"token":"x"}"#),
            ("0/chat", Connect, 0, "/chat", None, ""),
            ("0/chat,", Connect, 0, "/chat", None, ""),
            ("0/chat,{}", Connect, 0, "/chat", None, "{}"),
            ("1", Disconnect, 0, "/", None, ""),
            ("1/chat,", Disconnect, 0, "/chat", None, ""),
            (r#"2["a"]"#, Event, 0, "/", None, r#"["a"]"#),
            (r#"212["a"]"#, Event, 0, "/", Some("12"), r#"["a"]"#),
            (r#"2/chat,12["a"]"#, Event, 0, "/chat", Some("12"), r#"["a"]"#),
            (r#"3/chat,0[1,2]"#, Ack, 0, "/chat", Some("0"), "[1,2]"),
            (r#"4{"message":"x"}"#, ConnectError, 0, "/", None, r#"{"message":"x"}"#),
            (
                r#"51-/c,7["a",{"_placeholder":true,"num":0}]"#,
                BinaryEvent,
                1,
                "/c",
                Some("7"),
                r#"["a",{"_placeholder":true,"num":0}]"#,
            ),
            (r#"50-["a"]"#, BinaryEvent, 0, "/", None, r#"["a"]"#),
            (r#"60-3["a"]"#, BinaryAck, 0, "/", Some("3"), r#"["a"]"#),
            (r#"299999999999999999999["a"]"#, Event, 0, "/", Some("99999999999999999999"), r#"["a"]"#),
        ] {
            assert_eq!(Head::parse(text), Ok(Head { kind, attachments, namespace, id, data }), "{text}");
        }
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        for text in [
            "",
            "7",
            "abc",
            "é",
            "5",
            r#"5["a"]"#,
            r#"5-["a"]"#,
            r#"5x-["a"]"#,
            r#"5+1-["a",{"_placeholder":true,"num":0}]"#,
            r#"51-["a"]"#,
            r#"51000000000-["a",{"_placeholder":true,"num":0}]"#,
            r#"599999999999999999999999-["a"]"#,
            r#"2999999999999999999999["a"]"#,
        ] {
            assert_eq!(Head::parse(text), Err(Malformed), "{text}");
        }
    }
}
