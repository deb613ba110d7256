//! Which web pages may talk to the server: `[origins]`, and the CORS headers that follow from it.
//!
//! An origin is compared as RFC 6454 section 4 builds it: scheme and host in lower case, default ports left out.
//! `null`, the origin of sandboxed frames and local files, is anyone's, so it is
//! allowed only where it is listed, or with `"*"`.

use thiserror::Error;

/// How long a browser may remember a preflight answer, in seconds; no browser keeps it longer.
pub const PREFLIGHT_MAX_AGE: &str = "7200";

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";

/// What a preflight is told when it asks for no header, or for something that is not a list of headers.
const HEADERS: &str = "authorization, content-type, last-event-id, cache-control";

/// The longest `Access-Control-Request-Headers` that is echoed, in bytes.
const MAX_REQUESTED_HEADERS: usize = 1024;

/// An entry of `allow` that is not an origin.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is not an origin: use \"*\", \"null\" or scheme://host[:port], without a path")]
pub struct OriginError(pub String);

/// The origins that may use the server.
#[derive(Clone, Debug)]
pub struct Origins {
    allow: Allow,
    require: bool,
}

#[derive(Clone, Debug)]
enum Allow {
    Any,
    /// Normalised.
    Listed(Vec<String>),
}

/// What `[origins]` says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginVerdict {
    /// Its origin may use the server.
    Allowed,
    /// It has no origin, as requests from outside of browsers, and none is required.
    Absent,
    /// It has none, and one is required: 403.
    Missing,
    /// Its origin is not listed, or is not one: 403.
    Refused,
}

impl OriginVerdict {
    /// Whether the request goes on.
    pub fn is_allowed(self) -> bool {
        match self {
            Self::Allowed | Self::Absent => true,
            Self::Missing | Self::Refused => false,
        }
    }
}

/// Header names (in lower case) and values to add to a response.
pub type CorsHeaders = Vec<(&'static str, String)>;

impl Origins {
    /// Origins from the configuration: exact ones, `"null"`, or `"*"` for any. An empty list allows no web page.
    /// With `require`, requests without an `Origin` are refused too.
    ///
    /// # Errors
    ///
    /// The first entry that is not an origin.
    pub fn new<S: AsRef<str>>(allow: &[S], require: bool) -> Result<Self, OriginError> {
        let mut listed = Vec::with_capacity(allow.len());
        let mut any = false;
        for entry in allow.iter().map(AsRef::as_ref) {
            match entry {
                "*" => any = true,
                "null" => listed.push(entry.to_owned()),
                _ => listed.push(normalise(entry).ok_or_else(|| OriginError(entry.to_owned()))?),
            }
        }
        let allow = match any {
            true => Allow::Any,
            false => Allow::Listed(listed),
        };
        Ok(Self { allow, require })
    }

    /// Any origin, or none.
    pub fn any() -> Self {
        Self { allow: Allow::Any, require: false }
    }

    /// Judges the `Origin` header of a request.
    pub fn check(&self, origin: Option<&str>) -> OriginVerdict {
        match (origin, &self.allow) {
            (None, _) if self.require => OriginVerdict::Missing,
            (None, _) => OriginVerdict::Absent,
            (Some(_), Allow::Any) => OriginVerdict::Allowed,
            (Some(origin), Allow::Listed(listed)) => match self::listed(origin, listed) {
                true => OriginVerdict::Allowed,
                false => OriginVerdict::Refused,
            },
        }
    }

    /// The CORS headers of a response to a request with this `Origin`; also for error responses, so that the page can
    /// read them. An origin that is not allowed gets no permission.
    ///
    /// Listed origins may send cookies along, which only load balancers in front of Starling look at;
    /// with `"*"` they may not, as the standard has it.
    pub fn response_headers(&self, origin: Option<&str>) -> CorsHeaders {
        let mut headers = CorsHeaders::new();
        let allowed = self.check(origin) == OriginVerdict::Allowed;
        match (&self.allow, origin) {
            (Allow::Any, Some(_)) => headers.push(("access-control-allow-origin", "*".to_owned())),
            (Allow::Any, None) => {}
            (Allow::Listed(_), origin) => {
                // Without an origin as well: a cache must not give that answer to a page.
                headers.push(("vary", "Origin".to_owned()));
                if let Some(origin) = origin.filter(|_| allowed) {
                    headers.push(("access-control-allow-origin", origin.to_owned()));
                    headers.push(("access-control-allow-credentials", "true".to_owned()));
                }
            }
        }
        headers
    }

    /// The headers of the answer (204) to a preflight: `OPTIONS` with an `Access-Control-Request-Method`.
    /// `requested_headers` is its `Access-Control-Request-Headers`, which is granted as it is:
    /// no header is a permission here. `None`: the origin is not allowed, 403.
    pub fn preflight_headers(&self, origin: Option<&str>, requested_headers: Option<&str>) -> Option<CorsHeaders> {
        if self.check(origin) != OriginVerdict::Allowed {
            return None;
        }
        let requested = requested_headers.filter(|list| is_header_list(list));
        let mut headers = self.response_headers(origin);
        headers.push(("access-control-allow-methods", METHODS.to_owned()));
        headers.push(("access-control-allow-headers", requested.unwrap_or(HEADERS).to_owned()));
        headers.push(("access-control-max-age", PREFLIGHT_MAX_AGE.to_owned()));
        Some(headers)
    }
}

fn listed(origin: &str, listed: &[String]) -> bool {
    match origin {
        "null" => listed.iter().any(|entry| entry == "null"),
        _ => normalise(origin).is_some_and(|origin| listed.contains(&origin)),
    }
}

/// `scheme://host[:port]` in the form that is compared; `None` for anything else.
fn normalise(origin: &str) -> Option<String> {
    let origin = origin.to_ascii_lowercase();
    let (scheme, authority) = origin.split_once("://")?;
    let scheme_is_valid = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    // An IPv6 address has colons of its own.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if !scheme_is_valid || !is_host(host) {
        return None;
    }
    let port = match port {
        None => None,
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port.parse::<u16>().ok()?),
        Some(_) => return None,
    };
    let default = match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    };
    Some(match port.filter(|_| port != default) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}

fn is_host(host: &str) -> bool {
    let within = |bytes: &str, allowed: fn(u8) -> bool| !bytes.is_empty() && bytes.bytes().all(allowed);
    match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']').is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()),
        None => within(host, |byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte)),
    }
}

fn is_header_list(list: &str) -> bool {
    !list.is_empty()
        && list.len() <= MAX_REQUESTED_HEADERS
        && list.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_, ".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::OriginVerdict::{Absent, Allowed, Missing, Refused};
    use super::*;

    const APP: &str = "https://app.example.com";

    #[test]
    fn origins_are_judged_by_scheme_host_and_port() {
        let listed = &[APP, "http://localhost:3000", "http://[::1]:80", "capacitor://localhost"][..];
        for (name, allow, origin, expected) in [
            ("listed", listed, Some(APP), Allowed),
            ("upper case", listed, Some("HTTPS://App.Example.COM"), Allowed),
            ("default port", listed, Some("https://app.example.com:443"), Allowed),
            ("other port", listed, Some("https://app.example.com:8443"), Refused),
            ("other scheme", listed, Some("http://app.example.com"), Refused),
            ("http port on https", listed, Some("https://app.example.com:80"), Refused),
            ("subdomain", listed, Some("https://x.app.example.com"), Refused),
            ("suffix", listed, Some("https://app.example.com.evil.com"), Refused),
            ("prefix", listed, Some("https://evilapp.example.com"), Refused),
            ("user info", listed, Some("https://app.example.com@evil.com"), Refused),
            ("path", listed, Some("https://app.example.com/"), Refused),
            ("own port", listed, Some("http://localhost:3000"), Allowed),
            ("no port", listed, Some("http://localhost"), Refused),
            ("IPv6", listed, Some("http://[::1]"), Allowed),
            ("IPv6, other port", listed, Some("http://[::1]:81"), Refused),
            ("app shell", listed, Some("capacitor://localhost"), Allowed),
            ("null", listed, Some("null"), Refused),
            ("empty", listed, Some(""), Refused),
            ("two origins", listed, Some("https://app.example.com https://evil.com"), Refused),
            ("garbage", listed, Some("://:"), Refused),
            ("absent", listed, None, Absent),
            ("null, listed", &["null"], Some("null"), Allowed),
            ("null, upper case", &["null"], Some("NULL"), Refused),
            ("any", &["*"], Some("https://evil.com"), Allowed),
            ("any, null", &["*"], Some("null"), Allowed),
            ("any among others", &[APP, "*"], Some("https://evil.com"), Allowed),
            ("none allowed", &[], Some(APP), Refused),
            ("none allowed, absent", &[], None, Absent),
        ] {
            let origins = Origins::new(allow, false).unwrap();
            assert_eq!(origins.check(origin), expected, "{name}");
        }
    }

    #[test]
    fn an_origin_can_be_required() {
        for allow in [&["*"][..], &[APP]] {
            let origins = Origins::new(allow, true).unwrap();
            assert_eq!(origins.check(None), Missing);
            assert_eq!(origins.check(Some(APP)), Allowed);
            assert!(!origins.check(None).is_allowed());
        }
    }

    #[test]
    fn configured_origins_must_be_origins() {
        for (entry, good) in [
            (APP, true),
            ("http://127.0.0.1:8080", true),
            ("chrome-extension://abcdef", true),
            ("https://app.example.com/", false),
            ("https://app.example.com/path", false),
            ("app.example.com", false),
            ("https://", false),
            ("https://:443", false),
            ("https://a:b", false),
            ("https://a:99999", false),
            ("https://a:+80", false),
            ("https://[::1", false),
            ("https://[zz]", false),
            ("https://user@host", false),
            ("https://bücher.example", false),
            ("1https://a", false),
            ("https://a b", false),
            ("https://*.example.com", true), // A literal: it matches no browser's origin.
            ("", false),
        ] {
            assert_eq!(Origins::new(&[entry], false).is_ok(), good, "{entry:?}");
        }
    }

    #[test]
    fn cors_headers_of_responses() {
        let listed = Origins::new(&[APP], false).unwrap();
        let header = |name, value: &str| (name, value.to_owned());
        let vary = header("vary", "Origin");
        assert_eq!(
            listed.response_headers(Some(APP)),
            [
                vary.clone(),
                header("access-control-allow-origin", APP),
                header("access-control-allow-credentials", "true"),
            ]
        );
        assert_eq!(listed.response_headers(Some("https://evil.com")), std::slice::from_ref(&vary));
        assert_eq!(listed.response_headers(None), [vary]);
        let any = Origins::any();
        assert_eq!(any.response_headers(Some(APP)), [header("access-control-allow-origin", "*")]);
        assert_eq!(any.response_headers(None), []);
    }

    #[test]
    fn preflights_grant_what_is_asked_for() {
        let origins = Origins::new(&[APP], false).unwrap();
        assert_eq!(origins.preflight_headers(Some("https://evil.com"), None), None);
        assert_eq!(origins.preflight_headers(None, None), None);
        for (requested, granted) in [
            (None, HEADERS),
            (Some("authorization,x-custom"), "authorization,x-custom"),
            (Some("x\r\nset-cookie: a=b"), HEADERS),
            (Some(""), HEADERS),
        ] {
            let headers = origins.preflight_headers(Some(APP), requested).unwrap();
            let value = |name| headers.iter().find(|header| header.0 == name).unwrap().1.as_str();
            assert_eq!(value("access-control-allow-origin"), APP);
            assert_eq!(value("access-control-allow-methods"), METHODS);
            assert_eq!(value("access-control-allow-headers"), granted);
            assert_eq!(value("access-control-max-age"), "7200");
        }
    }
}
