//! What Starling understands of a join's payload; all of it goes to the application as it is.

use serde::Deserialize;
use serde_json::value::RawValue;
use starling_core::{Epoch, Position, RawJson, Start};

use super::codec::string;

/// A join that was understood, and can be kept until its token is verified.
#[derive(Debug)]
pub(super) struct Join {
    pub join_ref: Box<str>,
    pub reference: Box<str>,
    pub topic: starling_core::ChannelName,
    pub params: RawJson,
    pub start: Start,
    /// The join that this one takes the place of, if there is one.
    pub replaced: Option<Box<str>>,
}

/// What a join's payload says to Starling.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub token: Option<Box<str>>,
    pub start: Start,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default)]
    token: Option<&'a RawValue>,
    #[serde(borrow, default)]
    recover: Option<&'a RawValue>,
    #[serde(borrow, default)]
    rewind: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Recover {
    epoch: String,
    offset: u64,
}

/// Reads a join's payload.
///
/// # Errors
/// When it asks for a position in words that are nearly, but not, those of the protocol.
pub(super) fn wish(payload: &str) -> Result<Wish, &'static str> {
    let nothing = Wish { token: None, start: Start::Live };
    if !payload.starts_with('{') {
        return Ok(nothing);
    }
    // A name that stands twice is nobody's word for anything of ours.
    let Ok(fields) = serde_json::from_str::<Fields<'_>>(payload) else { return Ok(nothing) };
    let token = fields.token.and_then(|token| string(token.get()).map(|token| token.as_ref().into()));
    let rewind = match fields.rewind.map(RawValue::get) {
        Some(number) if number.starts_with(|first: char| first == '-' || first.is_ascii_digit()) => {
            number.parse::<u32>().map_err(|_| "`rewind` is a whole number of messages")?
        }
        _ => 0,
    };
    let position = match fields.recover.map(RawValue::get) {
        Some(object) if object.starts_with('{') => {
            let Recover { epoch, offset } =
                serde_json::from_str(object).map_err(|_| "`recover` is {\"epoch\": TEXT, \"offset\": NUMBER}")?;
            Some(Position { epoch: Epoch::new(epoch), offset })
        }
        _ => None,
    };
    Ok(Wish { token, start: Start::asked(position, rewind) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_asks_in_its_payload() {
        let position = Position { epoch: Epoch::from("e"), offset: 7 };
        for (payload, token, start) in [
            ("{}", None, Start::Live),
            ("[]", None, Start::Live),
            (r#"{"token":"a.b\u002ec","name":"bob"}"#, Some("a.b.c"), Start::Live),
            (r#"{"token":5,"recover":true,"rewind":"all"}"#, None, Start::Live),
            (r#"{"rewind":3}"#, None, Start::Rewind(3)),
            (r#"{"rewind":0}"#, None, Start::Live),
            (r#"{"recover":{"epoch":"e","offset":7}}"#, None, Start::Recover(position.clone())),
            (r#"{"rewind":3,"recover":{"epoch":"e","offset":7}}"#, None, Start::RecoverOrRewind(position.clone(), 3)),
            (r#"{"recover":null,"rewind":null,"token":null}"#, None, Start::Live),
        ] {
            assert_eq!(wish(payload), Ok(Wish { token: token.map(Into::into), start }), "{payload}");
        }
        for payload in
            [r#"{"rewind":-1}"#, r#"{"rewind":1.5}"#, r#"{"recover":{}}"#, r#"{"recover":{"epoch":1,"offset":1}}"#]
        {
            assert!(wish(payload).is_err(), "{payload}");
        }
    }
}
