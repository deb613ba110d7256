//! The answer to a question (section 9 of the contract), read strictly: what is not understood is no answer.
//!
//! A member that is unknown or belongs to another hook fails as well. Left out silently, a misspelt `reject` would let
//! everybody in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use starling_core::{
    Admission, ChannelName, DEFAULT_EVENT, Decision, Effects, Payload, Publish, RawJson, Refusal, UserId,
};
use thiserror::Error;

use super::HookEvent;

/// Entries of each of `join`, `leave` and `publish`.
const MAX_EFFECTS: usize = 1000;
/// Bytes of a refusal's code.
const MAX_CODE: usize = 64;
/// Bytes of a refusal's message.
const MAX_MESSAGE: usize = 1024;

/// What the application answered.
#[derive(Debug)]
pub(super) enum Answer {
    Refused(Refusal),
    Goes(Going),
}

/// The act goes ahead.
#[derive(Debug, Default)]
pub(super) struct Going {
    reply: Option<Payload>,
    payload: Option<Payload>,
    user: Option<(UserId, Option<RawJson>)>,
    effects: Effects,
}

/// The answer is none that the contract has.
#[derive(Debug, Error)]
pub(super) enum BadAnswer {
    #[error("not an answer: {0}")]
    Json(#[from] serde_json::Error),
    #[error("{0} does not belong to this hook")]
    Misplaced(&'static str),
    #[error("{0} has more than {MAX_EFFECTS} entries")]
    TooMany(&'static str),
    #[error("not a channel: {0:?}")]
    Channel(String),
    #[error("a user's id has 1 to 255 bytes")]
    User,
    #[error("user.info is not an object")]
    Info,
    #[error("reject.code has 1 to {MAX_CODE} bytes, reject.message at most {MAX_MESSAGE}")]
    Reject,
    #[error("encoding is \"base64\", of a value that is base64")]
    Encoding,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<'a> {
    reject: Option<Rejection>,
    #[serde(borrow, default, deserialize_with = "present")]
    reply: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    payload: Option<&'a RawValue>,
    encoding: Option<String>,
    #[serde(borrow)]
    user: Option<Named<'a>>,
    #[serde(default)]
    join: Option<Vec<String>>,
    #[serde(default)]
    leave: Option<Vec<String>>,
    #[serde(borrow, default)]
    publish: Option<Vec<Emitted<'a>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rejection {
    code: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named<'a> {
    id: String,
    #[serde(borrow, default)]
    info: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Emitted<'a> {
    channel: String,
    event: Option<String>,
    #[serde(borrow)]
    payload: &'a RawValue,
    encoding: Option<String>,
    #[serde(default = "yes")]
    echo: bool,
}

/// `null` is a value like any other.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

fn yes() -> bool {
    true
}

impl Answer {
    /// Reads the answer to a question of this kind.
    pub fn read(hook: HookEvent, body: &[u8]) -> Result<Self, BadAnswer> {
        let wire: Wire<'_> = serde_json::from_slice(body)?;
        let belongs = |given: bool, hooks: &[HookEvent], name| match given && !hooks.contains(&hook) {
            true => Err(BadAnswer::Misplaced(name)),
            false => Ok(()),
        };
        belongs(wire.reply.is_some(), &[HookEvent::Event, HookEvent::Subscribe], "reply")?;
        belongs(wire.payload.is_some(), &[HookEvent::Publish], "payload")?;
        belongs(wire.user.is_some(), &[HookEvent::Connect], "user")?;
        if wire.encoding.is_some() && wire.reply.is_none() && wire.payload.is_none() {
            return Err(BadAnswer::Encoding);
        }
        if let Some(Rejection { code, message }) = wire.reject {
            if code.is_empty() || code.len() > MAX_CODE || message.len() > MAX_MESSAGE {
                return Err(BadAnswer::Reject);
            }
            return Ok(Self::Refused(Refusal::custom(code, message)));
        }
        let encoding = wire.encoding.as_deref();
        Ok(Self::Goes(Going {
            reply: wire.reply.map(|reply| payload(reply, encoding)).transpose()?,
            payload: wire.payload.map(|new| payload(new, encoding)).transpose()?,
            user: wire.user.map(user).transpose()?,
            effects: Effects {
                join: channels(wire.join, "join")?,
                leave: channels(wire.leave, "leave")?,
                publish: publishes(wire.publish)?,
                emit: Vec::new(),
            },
        }))
    }
}

impl Going {
    pub fn admission(self) -> Admission {
        Admission { user: self.user, effects: self.effects }
    }

    /// A hook that lets an act go ahead grants it.
    pub fn decision(self) -> Decision {
        let Self { reply, payload, effects, user: _ } = self;
        Decision { granted: true, reply, payload, effects, ..Decision::default() }
    }
}

fn raw(value: &RawValue) -> RawJson {
    RawJson::from_valid(Bytes::copy_from_slice(value.get().as_bytes()))
}

fn payload(value: &RawValue, encoding: Option<&str>) -> Result<Payload, BadAnswer> {
    match encoding {
        None => Ok(Payload::Json(raw(value))),
        Some("base64") => {
            let text: String = serde_json::from_str(value.get()).map_err(|_| BadAnswer::Encoding)?;
            STANDARD.decode(text).map(|bytes| Payload::Binary(bytes.into())).map_err(|_| BadAnswer::Encoding)
        }
        Some(_) => Err(BadAnswer::Encoding),
    }
}

fn user(named: Named<'_>) -> Result<(UserId, Option<RawJson>), BadAnswer> {
    if named.id.is_empty() || named.id.len() > 255 {
        return Err(BadAnswer::User);
    }
    let info = named.info.map(raw);
    if info.as_ref().is_some_and(|info| !info.is_object()) {
        return Err(BadAnswer::Info);
    }
    Ok((UserId::new(named.id), info))
}

fn channel(name: String) -> Result<ChannelName, BadAnswer> {
    ChannelName::parse(&name).map_err(|_| BadAnswer::Channel(name.chars().take(80).collect()))
}

fn channels(names: Option<Vec<String>>, member: &'static str) -> Result<Vec<ChannelName>, BadAnswer> {
    let names = names.unwrap_or_default();
    if names.len() > MAX_EFFECTS {
        return Err(BadAnswer::TooMany(member));
    }
    names.into_iter().map(channel).collect()
}

fn publishes(list: Option<Vec<Emitted<'_>>>) -> Result<Vec<Publish>, BadAnswer> {
    let list = list.unwrap_or_default();
    if list.len() > MAX_EFFECTS {
        return Err(BadAnswer::TooMany("publish"));
    }
    let publish = |emitted: Emitted<'_>| {
        let payload = payload(emitted.payload, emitted.encoding.as_deref())?;
        let event = emitted.event.as_deref().unwrap_or(DEFAULT_EVENT);
        Ok(Publish { echo: emitted.echo, ..Publish::new(channel(emitted.channel)?, event, payload) })
    };
    list.into_iter().map(publish).collect()
}

#[cfg(test)]
mod tests {
    use super::HookEvent::{Connect, Event, Subscribe};
    use super::*;

    fn going(hook: HookEvent, text: &str) -> Going {
        match Answer::read(hook, text.as_bytes()) {
            Ok(Answer::Goes(going)) => going,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn an_empty_object_goes_ahead_and_grants() {
        for hook in HookEvent::ALL {
            assert!(going(hook, " {} ").decision().granted);
            assert!(going(hook, r#"{"reject":null,"join":null,"user":null}"#).decision().granted);
        }
    }

    #[test]
    fn everything_that_an_answer_can_have() {
        let connect = r#"{"user":{"id":"ann","info":{"n":1.50}},"join":["a","b"]}"#;
        let admission = going(Connect, connect).admission();
        let (user, info) = admission.user.unwrap();
        assert_eq!((user.as_str(), info.unwrap().as_str()), ("ann", r#"{"n":1.50}"#));
        assert_eq!(admission.effects.join.len(), 2);

        let event = r#"{"reply":null,"leave":["a"],"publish":[
            {"channel":"b","event":"e","payload":[1.10],"echo":false},{"channel":"c","payload":"AP8=","encoding":"base64"}]}"#;
        let decision = going(Event, event).decision();
        assert_eq!(decision.reply, Some(Payload::Json(RawJson::null())));
        let [first, second] = &decision.effects.publish[..] else { panic!("{decision:?}") };
        assert_eq!((&*first.event, first.echo), ("e", false));
        assert_eq!(first.payload, Payload::Json(RawJson::from_valid("[1.10]")));
        assert_eq!((&*second.event, second.echo), ("message", true));
        assert_eq!(second.payload, Payload::Binary(Bytes::from_static(b"\0\xff")));

        let replaced = going(HookEvent::Publish, r#"{"payload":"aGk=","encoding":"base64"}"#).decision();
        assert_eq!(replaced.payload, Some(Payload::Binary(Bytes::from_static(b"hi"))));
        let refused = Answer::read(Subscribe, br#"{"reject":{"code":"FULL","message":"no seat"}}"#);
        assert!(
            matches!(refused, Ok(Answer::Refused(refusal)) if refusal.code == "FULL" && refusal.message == "no seat")
        );
    }

    #[test]
    fn what_is_not_understood_is_no_answer() {
        for (hook, text) in [
            (Connect, ""),
            (Connect, "null"),
            (Connect, "[]"),
            (Connect, "\"ok\""),
            (Connect, "<html>"),
            (Connect, "{} {}"),
            (Connect, "{\"rejct\":{\"code\":\"X\",\"message\":\"\"}}"),
            (Connect, r#"{"reject":true}"#),
            (Connect, r#"{"reject":{}}"#),
            (Connect, r#"{"reject":{"code":"","message":""}}"#),
            (Connect, r#"{"reject":{"code":1,"message":""}}"#),
            (Connect, r#"{"user":"ann"}"#),
            (Connect, r#"{"user":{"id":7}}"#),
            (Connect, r#"{"user":{"id":""}}"#),
            (Connect, r#"{"user":{"id":"ann","info":[]}}"#),
            (Connect, r#"{"reply":1}"#),
            (Subscribe, r#"{"user":{"id":"ann"}}"#),
            (Subscribe, r#"{"payload":1}"#),
            (Subscribe, r#"{"join":"a"}"#),
            (Subscribe, r#"{"join":[1]}"#),
            (Subscribe, r##"{"join":["#x"]}"##),
            (Subscribe, r#"{"join":[""]}"#),
            (Subscribe, r#"{"leave":{}}"#),
            (Event, r#"{"publish":{}}"#),
            (Event, r#"{"publish":[{}]}"#),
            (Event, r#"{"publish":[{"channel":"a"}]}"#),
            (Event, r#"{"publish":[{"channel":"a","payload":1,"echo":"no"}]}"#),
            (Event, r#"{"publish":[{"channel":"a","payload":"%","encoding":"base64"}]}"#),
            (Event, r#"{"encoding":"base64"}"#),
            (Event, r#"{"reply":1,"encoding":"base64"}"#),
            (Event, r#"{"reply":"x","encoding":"gzip"}"#),
            (Event, r#"{"reply":1,"reply":2}"#),
        ] {
            assert!(Answer::read(hook, text.as_bytes()).is_err(), "{hook:?} {text}");
        }
        let many = format!("{{\"join\":[{}]}}", vec!["\"a\""; MAX_EFFECTS + 1].join(","));
        assert!(Answer::read(Connect, many.as_bytes()).is_err());
        let long = format!("{{\"reject\":{{\"code\":\"X\",\"message\":\"{}\"}}}}", "x".repeat(MAX_MESSAGE + 1));
        assert!(Answer::read(Connect, long.as_bytes()).is_err());
    }
}
