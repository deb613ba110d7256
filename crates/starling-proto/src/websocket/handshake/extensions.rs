//! `Sec-WebSocket-Extensions`, both ways (section 9.1; RFC 7692 sections 5 and 7.1).

use std::fmt;

use super::HandshakeError;
use crate::websocket::Deflate;

const PERMESSAGE_DEFLATE: &str = "permessage-deflate";

/// Chooses among a client's offers, and writes the answer's header value.
///
/// `offers` are the values of all its `Sec-WebSocket-Extensions` fields joined by `", "`. The first offer of
/// permessage-deflate that can be met is taken; `None` when there is none. The answer always demands
/// `server_no_context_takeover` and `client_no_context_takeover`, which a server may (RFC 7692 sections 7.1.1.1 and
/// 7.1.1.2), so that no connection keeps a compressor. Windows are limited as far as the client asks for it or says
/// that it does so itself.
///
/// An offer is passed over when it is malformed, has unknown, repeated or invalid parameters, or asks for a server's
/// window of 8 bits, which the compressor does not have.
pub fn negotiate(offers: &str) -> Option<(Deflate, String)> {
    elements(offers, ',').filter_map(Parameters::parse).find_map(|offer| {
        let server_bits = match offer.server_max_window_bits {
            None => None,
            Some(Bits::Exactly(bits @ 9..)) => Some(bits),
            Some(_) => return None,
        };
        let client_bits = match offer.client_max_window_bits {
            Some(Bits::Exactly(bits)) => Some(bits),
            // A hint that the client could limit its window. There is no need: the inflater has the full one.
            Some(Bits::Any) | None => None,
        };
        let deflate = Deflate {
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            server_max_window_bits: server_bits.unwrap_or(15),
            client_max_window_bits: client_bits.unwrap_or(15),
        };
        let mut answer = format!("{PERMESSAGE_DEFLATE}; server_no_context_takeover; client_no_context_takeover");
        if let Some(bits) = server_bits {
            answer += &format!("; server_max_window_bits={bits}");
        }
        if let Some(bits) = client_bits {
            answer += &format!("; client_max_window_bits={bits}");
        }
        Some((deflate, answer))
    })
}

/// A client's offer of permessage-deflate; `to_string` is its header value. The default asks for nothing and accepts
/// any answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Asks the server to compress every message on its own, which spares this end a decompressor.
    pub server_no_context_takeover: bool,
    /// Says that this end will compress every message on its own. It always does; some servers want to be told.
    pub client_no_context_takeover: bool,
    /// Asks the server to limit its window: base-2 logarithm, 8 to 15.
    pub server_max_window_bits: Option<u8>,
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PERMESSAGE_DEFLATE)?;
        if self.server_no_context_takeover {
            f.write_str("; server_no_context_takeover")?;
        }
        if self.client_no_context_takeover {
            f.write_str("; client_no_context_takeover")?;
        }
        if let Some(bits) = self.server_max_window_bits {
            write!(f, "; server_max_window_bits={bits}")?;
        }
        f.write_str("; client_max_window_bits")
    }
}

impl Offer {
    /// Reads the server's answer: its `Sec-WebSocket-Extensions`, joined by `", "`, empty if there are none.
    ///
    /// `None` when the server declined compression.
    ///
    /// # Errors
    ///
    /// When the answer is not one to this offer; the client then fails the connection (section 4.1).
    pub fn answered(&self, answer: &str) -> Result<Option<Deflate>, HandshakeError> {
        let mut extensions = elements(answer, ',').filter(|element| !element.is_empty());
        let Some(extension) = extensions.next() else { return Ok(None) };
        let name = extension.split(';').next().unwrap_or_default().trim();
        if !name.eq_ignore_ascii_case(PERMESSAGE_DEFLATE) || extensions.next().is_some() {
            return Err(HandshakeError::UnexpectedExtension);
        }
        let answer = Parameters::parse(extension).ok_or(HandshakeError::InvalidParameters)?;
        let bits = |bits: Option<Bits>, most: u8| match bits {
            None => Ok(15),
            Some(Bits::Exactly(bits)) if bits <= most => Ok(bits),
            Some(_) => Err(HandshakeError::InvalidParameters),
        };
        let asked = self.server_max_window_bits;
        let unmet = (self.server_no_context_takeover && !answer.server_no_context_takeover)
            || (asked.is_some() && answer.server_max_window_bits.is_none());
        if unmet {
            return Err(HandshakeError::InvalidParameters);
        }
        Ok(Some(Deflate {
            server_no_context_takeover: answer.server_no_context_takeover,
            client_no_context_takeover: answer.client_no_context_takeover,
            server_max_window_bits: bits(answer.server_max_window_bits, asked.unwrap_or(15))?,
            client_max_window_bits: bits(answer.client_max_window_bits, 15)?,
        }))
    }
}

/// A window parameter: a number, or the bare word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bits {
    Any,
    Exactly(u8),
}

/// The parameters of one permessage-deflate element, each at most once.
#[derive(Default)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<Bits>,
    client_max_window_bits: Option<Bits>,
}

impl Parameters {
    /// `None` for another extension, or for anything that RFC 7692 section 7.1 does not know.
    fn parse(element: &str) -> Option<Self> {
        let mut parts = elements(element, ';');
        if !parts.next()?.eq_ignore_ascii_case(PERMESSAGE_DEFLATE) {
            return None;
        }
        let mut all = Self::default();
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim_end(), Some(unquote(value.trim_start())?)),
                None => (part, None),
            };
            let repeated = match (name.to_ascii_lowercase().as_str(), value) {
                ("server_no_context_takeover", None) => std::mem::replace(&mut all.server_no_context_takeover, true),
                ("client_no_context_takeover", None) => std::mem::replace(&mut all.client_no_context_takeover, true),
                ("server_max_window_bits", Some(value)) => {
                    all.server_max_window_bits.replace(Bits::Exactly(window_bits(&value)?)).is_some()
                }
                ("client_max_window_bits", value) => {
                    let bits = match value {
                        Some(value) => Bits::Exactly(window_bits(&value)?),
                        None => Bits::Any,
                    };
                    all.client_max_window_bits.replace(bits).is_some()
                }
                _ => return None,
            };
            if repeated {
                return None;
            }
        }
        Some(all)
    }
}

/// 8 to 15, decimal, without leading zeros.
fn window_bits(value: &str) -> Option<u8> {
    match value.as_bytes() {
        [digit @ (b'8' | b'9')] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// A value that may be a quoted string; what is in it must be a token after all (section 9.1).
fn unquote(value: &str) -> Option<String> {
    let Some(quoted) = value.strip_prefix('"') else { return Some(value.to_owned()) };
    let mut out = String::new();
    let mut chars = quoted.strip_suffix('"')?.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next()? } else { c });
    }
    Some(out)
}

/// Splits at `separator` outside quoted strings, and trims.
fn elements(list: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    list.split(move |c| {
        if escaped {
            escaped = false;
        } else if quoted && c == '\\' {
            escaped = true;
        } else if c == '"' {
            quoted = !quoted;
        }
        c == separator && !quoted
    })
    .map(str::trim)
}
