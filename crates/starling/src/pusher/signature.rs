//! How requests of the HTTP API are signed ("Generating authentication signatures").

use md5::{Digest, Md5};
use percent_encoding::percent_decode_str;
use starling_proto::pusher::App;
use subtle::ConstantTimeEq;
use thiserror::Error;

/// How far the sender's clock may be off, in seconds.
const TOLERANCE: u64 = 600;

/// Why a request is not an app's: HTTP 401.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Unauthorized {
    #[error("Missing parameter: {0}")]
    Missing(&'static str),
    #[error("auth_key should be the key of this app")]
    Key,
    #[error("auth_version should be 1.0")]
    Version,
    #[error("Timestamp expired: Given timestamp ({given}) not within {TOLERANCE}s of server time ({now})")]
    Timestamp { given: String, now: u64 },
    #[error(
        "Invalid signature: you should have signed the method, the path and the sorted parameters with the app's secret (HMAC SHA256)"
    )]
    Signature,
    #[error("Invalid body_md5: it is not the MD5 of the body")]
    BodyMd5,
}

/// The parameters of a query, decoded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// The parameters of `query`. `plus` is what a plus sign stands for: SDKs differ.
    fn parse(query: &str, plus: &str) -> Self {
        let decode = |text: &str| percent_decode_str(&text.replace('+', plus)).decode_utf8_lossy().into_owned();
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(k, v)| (decode(k), decode(v))).collect(),
        )
    }

    /// The first of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn require(&self, name: &'static str) -> Result<&str, Unauthorized> {
        self.get(name).ok_or(Unauthorized::Missing(name))
    }

    /// All but the signature, sorted by name.
    fn to_sign(&self) -> String {
        let signed = self.0.iter().filter(|(name, _)| name != "auth_signature");
        let mut pairs: Vec<(String, &str)> =
            signed.map(|(name, value)| (name.to_lowercase(), value.as_str())).collect();
        pairs.sort_by(|(name, _), (other, _)| name.cmp(other));
        let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("&")
    }
}

/// Checks who signed a request; its body is checked when it is there, by [`check_body`].
pub(super) fn check(
    app: &App,
    method: &str,
    path: &str,
    query: &str,
    unix_seconds: u64,
) -> Result<Parameters, Unauthorized> {
    let parameters = Parameters::parse(query, " ");
    if parameters.require("auth_key")? != app.key() {
        return Err(Unauthorized::Key);
    }
    if parameters.require("auth_version")? != "1.0" {
        return Err(Unauthorized::Version);
    }
    let given = parameters.require("auth_timestamp")?;
    let is_recent = given.parse::<u64>().is_ok_and(|given| given.abs_diff(unix_seconds) <= TOLERANCE);
    if !is_recent {
        return Err(Unauthorized::Timestamp { given: given.chars().take(32).collect(), now: unix_seconds });
    }
    let signature = parameters.require("auth_signature")?;
    // The path as it was before it was written into a URL is what SDKs sign, which differ in what they escape.
    let unescaped = percent_decode_str(path).decode_utf8_lossy();
    let verbatim = Parameters::parse(query, "+");
    let is_signed = [path, &*unescaped].into_iter().any(|path| {
        let signs =
            |parameters: &Parameters| app.has_signed(&format!("{method}\n{path}\n{}", parameters.to_sign()), signature);
        signs(&parameters) || (parameters != verbatim && signs(&verbatim))
    });
    if is_signed { Ok(parameters) } else { Err(Unauthorized::Signature) }
}

/// Checks that the body is the one that was signed.
pub(super) fn check_body(parameters: &Parameters, body: &[u8]) -> Result<(), Unauthorized> {
    if body.is_empty() && parameters.get("body_md5").is_none() {
        return Ok(());
    }
    let given = parameters.require("body_md5")?.to_ascii_lowercase();
    let expected: String = Md5::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
    if bool::from(given.as_bytes().ct_eq(expected.as_bytes())) { Ok(()) } else { Err(Unauthorized::BodyMd5) }
}

#[cfg(test)]
mod tests {
    use starling_proto::pusher::AppSettings;

    use super::*;

    const BODY: &[u8] = br#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
    const QUERY: &str = "auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0&body_md5=ec365a775a4cd0599faeb73354201b6f&auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c";
    const NOW: u64 = 1_353_088_179;

    fn app() -> App {
        App::new("278d425bdf160c739803", "7ad3773142a6692b25b8", AppSettings::default())
    }

    fn verdict(method: &str, path: &str, query: &str, now: u64) -> Result<(), Unauthorized> {
        check(&app(), method, path, query, now).and_then(|parameters| check_body(&parameters, BODY))
    }

    #[test]
    fn the_worked_example_of_the_documentation_is_accepted() {
        assert_eq!(verdict("POST", "/apps/3/events", QUERY, NOW), Ok(()));
    }

    #[test]
    fn what_was_not_signed_is_refused() {
        let old = |now| Unauthorized::Timestamp { given: NOW.to_string(), now };
        let other_body = QUERY.replace("body_md5=e", "body_md5=f");
        for (method, path, query, now, expected) in [
            ("GET", "/apps/3/events", QUERY, NOW, Unauthorized::Signature),
            ("POST", "/apps/4/events", QUERY, NOW, Unauthorized::Signature),
            ("POST", "/apps/3/events", &other_body, NOW, Unauthorized::Signature),
            ("POST", "/apps/3/events", &format!("{QUERY}&info=user_count"), NOW, Unauthorized::Signature),
            ("POST", "/apps/3/events", QUERY, NOW + 601, old(NOW + 601)),
            ("POST", "/apps/3/events", QUERY, NOW - 601, old(NOW - 601)),
            ("POST", "/apps/3/events", &QUERY.replace("=1.0", "=2.0"), NOW, Unauthorized::Version),
            ("POST", "/apps/3/events", &QUERY.replace("key=2", "key=3"), NOW, Unauthorized::Key),
            ("POST", "/apps/3/events", "", NOW, Unauthorized::Missing("auth_key")),
        ] {
            assert_eq!(verdict(method, path, query, now), Err(expected), "{method} {path} {query}");
        }
        assert_eq!(verdict("POST", "/apps/3/events", QUERY, NOW + 600), Ok(()));
        let parameters = check(&app(), "POST", "/apps/3/events", QUERY, NOW).unwrap();
        assert_eq!(check_body(&parameters, b"{}"), Err(Unauthorized::BodyMd5));
    }
}
