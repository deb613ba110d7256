//! The claims of a user token: their JSON form, and who they say the caller is.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::refusal::{ClaimError, TokenError};

/// How far the clock of a token's issuer may be ahead, in milliseconds: `nbf` is taken that much earlier.
/// `exp` has no leeway: a connection ends exactly then.
pub const NOT_BEFORE_LEEWAY_MS: u64 = 2_000;

/// The longest user id, in bytes.
pub const MAX_USER_BYTES: usize = 255;

/// The deepest nesting of arrays and objects in `info`, the outermost object included.
pub const MAX_INFO_DEPTH: usize = 64;

/// The last second of the year 9999. Later times are refused: they are milliseconds taken for seconds,
/// and would make a token live for ever.
const LAST_SECOND: f64 = 253_402_300_799.0;

/// Who a caller is and what was granted to them, taken from a verified token or ticket.
#[derive(Clone, Serialize, Deserialize)]
pub struct Claims {
    /// User id: `sub`; 1 to 255 bytes, no control characters.
    pub user: Arc<str>,
    /// App id.
    pub app: Arc<str>,
    /// When the token ends, in Unix milliseconds; `None`: never.
    pub expires_at: Option<u64>,
    /// When the token was issued, in Unix milliseconds (a token's `iat` is mostly in whole seconds).
    pub issued_at: Option<u64>,
    /// The user's `info`, a JSON object exactly as it stood in the token.
    pub info: Option<Box<RawValue>>,
    /// Channel patterns that the user may subscribe to where a rule says `granted`.
    pub subscribe: Vec<String>,
    /// Channel patterns that the user may publish to where a rule says `granted`.
    pub publish: Vec<String>,
}

/// Leaves `info` out: it is the user's own, and often personal.
impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims")
            .field("user", &self.user)
            .field("app", &self.app)
            .field("expires_at", &self.expires_at)
            .field("issued_at", &self.issued_at)
            .field("subscribe", &self.subscribe)
            .field("publish", &self.publish)
            .finish_non_exhaustive()
    }
}

/// The payload of a token. Claims that are not named here are ignored (RFC 7519 section 4).
#[derive(Deserialize)]
pub(super) struct Payload<'a> {
    pub(super) app: Option<AppId>,
    pub(super) iss: Option<String>,
    pub(super) aud: Option<Audience>,
    sub: Option<String>,
    exp: Option<f64>,
    nbf: Option<f64>,
    iat: Option<f64>,
    #[serde(borrow)]
    info: Option<&'a RawValue>,
    subscribe: Option<Vec<String>>,
    publish: Option<Vec<String>>,
}

/// An app id is digits, so many a backend writes it as a number.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum AppId {
    Text(String),
    Number(u64),
}

impl AppId {
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Text(id) => id,
            Self::Number(id) => id.to_string(),
        }
    }
}

/// RFC 7519 section 4.1.3: one string, or an array of them.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    pub(super) fn names(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Many(many) => many.iter().any(|one| one == audience),
        }
    }
}

impl<'a> Payload<'a> {
    pub(super) fn parse(payload: &'a [u8]) -> Result<Self, TokenError> {
        serde_json::from_slice(payload).map_err(|_| ClaimError::Malformed.into())
    }

    /// The claims of a token whose signature, issuer and audience are good, as of `now` (Unix milliseconds).
    pub(super) fn into_claims(self, app: Arc<str>, now: u64) -> Result<Claims, TokenError> {
        let expires_at = unix_ms("exp", self.exp)?;
        let not_before = unix_ms("nbf", self.nbf)?;
        let issued_at = unix_ms("iat", self.iat)?;
        if let Some(at) = expires_at.filter(|&at| at <= now) {
            return Err(TokenError::Expired { at });
        }
        if let Some(from) = not_before.filter(|from| from.saturating_sub(NOT_BEFORE_LEEWAY_MS) > now) {
            return Err(TokenError::NotYetValid { from });
        }
        Ok(Claims {
            user: user(self.sub)?,
            app,
            expires_at,
            issued_at,
            info: self.info.map(info).transpose()?,
            subscribe: self.subscribe.unwrap_or_default(),
            publish: self.publish.unwrap_or_default(),
        })
    }
}

fn user(sub: Option<String>) -> Result<Arc<str>, ClaimError> {
    let user = sub.ok_or(ClaimError::NoUser)?;
    if user.is_empty() {
        return Err(ClaimError::NoUser);
    }
    if user.len() > MAX_USER_BYTES {
        return Err(ClaimError::UserTooLong(user.len()));
    }
    if user.chars().any(char::is_control) {
        return Err(ClaimError::ControlCharacter);
    }
    Ok(user.into())
}

/// A NumericDate (RFC 7519 section 2), which may have a fraction, as milliseconds.
fn unix_ms(claim: &'static str, seconds: Option<f64>) -> Result<Option<u64>, ClaimError> {
    match seconds {
        None => Ok(None),
        // In range, so the product is far below 2^53 and exact to the millisecond. NaN is not in the range.
        Some(seconds) if (0.0..=LAST_SECOND).contains(&seconds) => Ok(Some((seconds * 1000.0) as u64)),
        Some(_) => Err(ClaimError::TimeOutOfRange(claim)),
    }
}

fn info(raw: &RawValue) -> Result<Box<RawValue>, ClaimError> {
    if !raw.get().starts_with('{') {
        return Err(ClaimError::InfoNotAnObject);
    }
    // Every peer in a presence set parses it, not all of them with a limit of their own.
    if depth(raw.get()) > MAX_INFO_DEPTH {
        return Err(ClaimError::InfoTooDeep);
    }
    Ok(raw.to_owned())
}

/// The deepest nesting of valid JSON text.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_strings() {
        for (json, expected) in [
            ("{}", 1),
            (r#"{"a":[{}]}"#, 3),
            (r#"{"a":"[[[["}"#, 1),
            (r#"{"a":"\"[["}"#, 1),
            (r#"{"a":"\\","b":[]}"#, 2),
            (r#"{"a":{},"b":{}}"#, 2),
        ] {
            assert_eq!(depth(json), expected, "{json}");
        }
    }

    #[test]
    fn times_are_seconds_between_1970_and_9999() {
        for (seconds, expected) in [
            (0.0, Ok(Some(0))),
            (1.5, Ok(Some(1_500))),
            (LAST_SECOND, Ok(Some(253_402_300_799_000))),
            (LAST_SECOND + 1.0, Err(ClaimError::TimeOutOfRange("exp"))),
            (-1.0, Err(ClaimError::TimeOutOfRange("exp"))),
            (f64::INFINITY, Err(ClaimError::TimeOutOfRange("exp"))),
            (f64::NAN, Err(ClaimError::TimeOutOfRange("exp"))),
        ] {
            assert_eq!(unix_ms("exp", Some(seconds)), expected, "{seconds}");
        }
    }
}
