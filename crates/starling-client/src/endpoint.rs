//! Where the server is: the URL taken apart.

use http::Uri;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::Error;

/// The address of a server's `/ws`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) secure: bool,
    /// Without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// For the header `Host`: the port only where it is not the scheme's own.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) target: String,
}

impl Endpoint {
    /// Takes apart `ws://host`, `wss://host:port/path?query`, or the same with `http` and `https`.
    ///
    /// Without a path it is `/ws`.
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        let refuse = |reason: &str| Error::Url { url: url.into(), reason: reason.into() };
        let uri: Uri = url.parse().map_err(|_| refuse("it cannot be parsed"))?;
        let secure = match uri.scheme_str() {
            Some("ws" | "http") => false,
            Some("wss" | "https") => true,
            _ => return Err(refuse("the scheme is another")),
        };
        let authority = uri.authority().ok_or_else(|| refuse("there is no host"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("credentials go into a token, not into the URL"));
        }
        let host = authority.host().trim_matches(['[', ']']);
        if host.is_empty() {
            return Err(refuse("there is no host"));
        }
        let standard = if secure { 443 } else { 80 };
        let port = authority.port_u16().unwrap_or(standard);
        let path = match uri.path() {
            "" | "/" => "/ws",
            path => path,
        };
        let query = uri.query().map_or(String::new(), |query| format!("?{query}"));
        Ok(Self {
            secure,
            host: host.into(),
            port,
            authority: if port == standard { authority.host().into() } else { format!("{}:{port}", authority.host()) },
            target: format!("{path}{query}"),
        })
    }

    /// Path and query of `name` beside `/ws`, with these parameters behind those of the URL. `None` where the URL is not
    /// that of a `/ws`, so that nobody knows what is beside it.
    pub(crate) fn beside(&self, name: &str, parameters: &[(&str, &str)]) -> Option<String> {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let mut target = format!("{}/{name}", path.strip_suffix("/ws")?);
        let given = Some(query.to_owned()).filter(|query| !query.is_empty());
        let added =
            parameters.iter().map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
        for (index, parameter) in given.into_iter().chain(added).enumerate() {
            target.push(if index == 0 { '?' } else { '&' });
            target.push_str(&parameter);
        }
        Some(target)
    }

    /// Host and port, for messages.
    pub(crate) fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, secure, host, port, authority, target) in [
            ("ws://a", false, "a", 80, "a", "/ws"),
            ("wss://a/", true, "a", 443, "a", "/ws"),
            ("http://127.0.0.1:8080", false, "127.0.0.1", 8080, "127.0.0.1:8080", "/ws"),
            ("https://a:443/x/ws", true, "a", 443, "a", "/x/ws"),
            ("ws://[::1]:8080/ws?ticket=t", false, "::1", 8080, "[::1]:8080", "/ws?ticket=t"),
        ] {
            let expected =
                Endpoint { secure, host: host.into(), port, authority: authority.into(), target: target.into() };
            assert_eq!(Endpoint::parse(url).unwrap(), expected, "{url}");
        }
        for url in ["", "a", "a:80", "ftp://a", "ws://", "ws:///ws", "ws://me@a", "ws://a b", "redis://a"] {
            assert!(matches!(Endpoint::parse(url), Err(Error::Url { .. })), "{url}");
        }
    }
    #[test]
    fn other_paths_are_beside_it() {
        for (url, expected) in [
            ("ws://a", Some("/send?connectionId=a%2Eb%26")),
            ("ws://a/x/ws", Some("/x/send?connectionId=a%2Eb%26")),
            ("ws://a/ws?token=t", Some("/send?token=t&connectionId=a%2Eb%26")),
            ("ws://a/socket", None),
        ] {
            let endpoint = Endpoint::parse(url).unwrap();
            assert_eq!(endpoint.beside("send", &[("connectionId", "a.b&")]).as_deref(), expected, "{url}");
        }
        assert_eq!(Endpoint::parse("ws://a").unwrap().beside("sse", &[]).as_deref(), Some("/sse"));
    }
}
