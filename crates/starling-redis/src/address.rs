//! URLs of Redis, Sentinel and Cluster.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};

use redis::io::tcp::TcpSettings;

use crate::options::ConnectError;

/// Where to look for masters.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    /// The servers that were named, with credentials and database; tried in turn.
    pub servers: Vec<ConnectionInfo>,
    /// The name of a master; then the servers are Sentinels.
    pub sentinel_master: Option<String>,
}

const SENTINEL_PORT: u16 = 26379;

impl Address {
    pub fn parse(url: &str) -> Result<Self, ConnectError> {
        let invalid = |why: &str| ConnectError::Invalid(format!("the URL {:?} {why}", without_password(url)));
        let (scheme, rest) = url.split_once("://").ok_or_else(|| invalid("has no scheme"))?;
        let (scheme, is_sentinel) = match scheme.strip_suffix("+sentinel") {
            Some(scheme) => (scheme, true),
            None => (scheme, false),
        };
        if !matches!(scheme, "redis" | "rediss") {
            return Err(invalid("is not redis://, rediss://, redis+sentinel:// or rediss+sentinel://"));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if path.contains(['?', '#']) || authority.contains(['?', '#']) {
            return Err(invalid("has a query or fragment, which means nothing here"));
        }
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (format!("{user}@"), hosts),
            None => (String::new(), authority),
        };
        let (master, database) = match (is_sentinel, path.split_once('/')) {
            (false, _) => (None, path),
            (true, Some((master, database))) => (Some(master.to_owned()), database),
            (true, None) => (Some(path.to_owned()), ""),
        };
        if master.as_ref().is_some_and(String::is_empty) {
            return Err(invalid("names no master after the Sentinels"));
        }
        if !database.is_empty() && database.parse::<u32>().is_err() {
            return Err(invalid("has a database that is no number"));
        }
        let mut servers = Vec::new();
        for host in hosts.split(',') {
            let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            let port = if is_sentinel && !has_port { format!(":{SENTINEL_PORT}") } else { String::new() };
            let one = format!("{scheme}://{user}{host}{port}/{database}");
            let info = one.into_connection_info().map_err(|error| invalid(&format!("is wrong: {error}")))?;
            servers.push(info.set_tcp_settings(TcpSettings::default().set_nodelay(true)));
        }
        Ok(Self { servers, sentinel_master: master })
    }
}

/// The same server settings at another host: of a master that a Sentinel or a Cluster names.
pub(crate) fn at(model: &ConnectionInfo, host: &str, port: u16) -> ConnectionInfo {
    let addr = match model.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            let (insecure, tls_params) = (*insecure, tls_params.clone());
            ConnectionAddr::TcpTls { host: host.to_owned(), port, insecure, tls_params }
        }
        _ => ConnectionAddr::Tcp(host.to_owned(), port),
    };
    model.clone().set_addr(addr)
}

/// How to speak to a Sentinel at this address: with its own password, and no database.
pub(crate) fn as_sentinel(model: &ConnectionInfo, password: Option<&str>) -> ConnectionInfo {
    let mut settings = RedisConnectionInfo::default();
    if let Some(password) = password {
        settings = settings.set_password(password);
    }
    model.clone().set_redis_settings(settings)
}

/// `host:port`, for logs and to tell servers apart.
pub(crate) fn name(info: &ConnectionInfo) -> String {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => format!("{host}:{port}"),
        other => other.to_string(),
    }
}

/// The URL as it may be shown.
pub(crate) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.rsplit_once('@') {
        Some((_, rest)) => format!("{scheme}://***@{rest}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(url: &str) -> Vec<String> {
        Address::parse(url).unwrap().servers.iter().map(name).collect()
    }

    #[test]
    fn servers_are_found_in_urls() {
        for (url, expected) in [
            ("redis://localhost", vec!["localhost:6379"]),
            ("redis://:pw@localhost:7/2", vec!["localhost:7"]),
            ("rediss://user:p%40w@a:1,b:2", vec!["a:1", "b:2"]),
            ("redis+sentinel://a,b:7/mymaster", vec!["a:26379", "b:7"]),
            ("rediss+sentinel://:pw@a/mymaster/3", vec!["a:26379"]),
        ] {
            assert_eq!(names(url), expected, "{url}");
        }
        let sentinel = Address::parse("redis+sentinel://:pw@a/mymaster/3").unwrap();
        assert_eq!(sentinel.sentinel_master.as_deref(), Some("mymaster"));
        let settings = sentinel.servers[0].redis_settings();
        assert_eq!((settings.password(), settings.db()), (Some("pw"), 3));
    }

    #[test]
    fn wrong_urls_are_refused_without_telling_the_password() {
        for url in [
            "localhost",
            "http://localhost",
            "redis://",
            "redis://:secret@host:port",
            "redis://:secret@localhost/x",
            "redis+sentinel://:secret@a",
            "redis://:secret@localhost/?db=1",
        ] {
            let error = Address::parse(url).expect_err(url).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
