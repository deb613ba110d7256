//! Events that name their channel by their first argument.

use serde_json::value::RawValue;
use starling_core::{ChannelName, Payload, RawJson};

/// An event's channel, and what it carries besides.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Addressed {
    pub channel: ChannelName,
    pub payload: Payload,
}

impl Addressed {
    /// Reads an event's arguments: a channel alone, or an array that begins with one. Inside of a scope, channels go by
    /// their own names.
    pub fn read(scope: Option<&ChannelName>, arguments: &Payload) -> Option<Self> {
        let Payload::Json(json) = arguments else { return None };
        // Where several arguments were put together, white space tells so.
        let text = json.as_str().trim_start();
        if text.starts_with('"') {
            return Some(Self { channel: channel(scope, text)?, payload: Payload::Json(RawJson::null()) });
        }
        if !text.starts_with('[') {
            return None;
        }
        let arguments: Vec<&RawValue> = serde_json::from_str(text).ok()?;
        let (first, rest) = arguments.split_first()?;
        let payload = match rest {
            [] => RawJson::null(),
            [only] => RawJson::from_valid(only.get().to_owned()),
            several => RawJson::of(several).ok()?,
        };
        Some(Self { channel: channel(scope, first.get())?, payload: Payload::Json(payload) })
    }
}

fn channel(scope: Option<&ChannelName>, json: &str) -> Option<ChannelName> {
    let name: String = serde_json::from_str(json).ok()?;
    match scope {
        Some(scope) => ChannelName::parse(&format!("{scope}{name}")).ok(),
        // A name that leads into a scope is not for those outside of it.
        None => ChannelName::parse(&name).ok().filter(|channel| channel.scope().is_none()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_argument_is_the_channel() {
        let scope = ChannelName::parse("/chat#").unwrap();
        for (scope, arguments, expected) in [
            (None, r#""game:7""#, Some(("game:7", "null"))),
            (None, r#" ["game:7"]"#, Some(("game:7", "null"))),
            (None, r#"["game:7",{"x": 1.00}]"#, Some(("game:7", r#"{"x": 1.00}"#))),
            (None, r#"["game:7",1,"a"]"#, Some(("game:7", r#"[1,"a"]"#))),
            (Some(&scope), r#"["room",1]"#, Some(("/chat#room", "1"))),
            (None, r#"["/chat#room",1]"#, None),
            (None, r#"[7,1]"#, None),
            (None, r#"[]"#, None),
            (None, r#"{"channel":"game:7"}"#, None),
        ] {
            let read = Addressed::read(scope, &Payload::Json(RawJson::from_valid(arguments)));
            let expected = expected.map(|(channel, payload)| Addressed {
                channel: ChannelName::parse(channel).unwrap(),
                payload: Payload::Json(RawJson::from_valid(payload)),
            });
            assert_eq!(read, expected, "{arguments}");
        }
    }
}
