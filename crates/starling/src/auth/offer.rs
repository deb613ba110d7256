//! How a request shows who it is from: the header, the extra subprotocol, a ticket, or a query token,
//! and which of them `[auth]` lets count.

use std::fmt;
use std::time::Duration;

use super::credentials::bearer;

/// The prefix of the subprotocol that carries a token, for browsers, which can set no header on a WebSocket.
pub const BEARER_SUBPROTOCOL: &str = "bearer.";

/// When clients authenticate: `[auth] when`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthWhen {
    /// With the request that opens the connection.
    Upgrade,
    /// With the first message; what the request carries is ignored.
    FirstMessage,
    /// Either way.
    #[default]
    Any,
}

/// The settings of `[auth]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthPolicy {
    /// When clients authenticate. Default: [`AuthWhen::Any`].
    pub when: AuthWhen,
    /// How long a connection may take for its first message, until it is closed with 4001. Default: 10 s.
    pub timeout: Duration,
    /// Whether connections without a user are let in. Default: no.
    pub anonymous: bool,
    /// Whether `?token=` counts. Default: no, because URLs end up in logs.
    pub query_token: bool,
}

impl Default for AuthPolicy {
    fn default() -> Self {
        Self { when: AuthWhen::default(), timeout: Duration::from_secs(10), anonymous: false, query_token: false }
    }
}

/// What a request offers, as it stands in its head; percent-decoded where it comes from the query.
#[derive(Clone, Copy, Default)]
pub struct Offer<'a> {
    /// The `Authorization` header.
    pub authorization: Option<&'a str>,
    /// The `Sec-WebSocket-Protocol` header, its lines joined by commas.
    pub subprotocols: Option<&'a str>,
    /// `?ticket=`
    pub ticket: Option<&'a str>,
    /// `?token=`
    pub token: Option<&'a str>,
}

/// What a caller is to be identified by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Proof<'a> {
    /// A user token, to be verified.
    Token(&'a str),
    /// A ticket, to be redeemed.
    Ticket(&'a str),
}

/// Shows the kind only.
impl fmt::Debug for Proof<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token",
            Self::Ticket(_) => "Ticket",
        })
    }
}

impl<'a> Offer<'a> {
    /// The proof that counts: the header's, else the subprotocol's, else the ticket, else the query's token.
    /// A bad one is not made up for by the next. `None`: the request shows nothing.
    ///
    /// An `Authorization` header with another scheme than `Bearer` says nothing about a user: proxies add them.
    pub fn proof(&self, policy: &AuthPolicy) -> Option<Proof<'a>> {
        let token = || self.authorization.and_then(user_token);
        let subprotocol = || self.subprotocols.and_then(subprotocol_token);
        let query = || self.token.filter(|_| policy.query_token);
        token()
            .or_else(subprotocol)
            .map(Proof::Token)
            .or_else(|| self.ticket.map(Proof::Ticket))
            .or_else(|| query().map(Proof::Token))
    }

    /// The proof on the upgrade of a connection that could also send it as its first message:
    /// none under [`AuthWhen::FirstMessage`].
    pub fn upgrade_proof(&self, policy: &AuthPolicy) -> Option<Proof<'a>> {
        match policy.when {
            AuthWhen::FirstMessage => None,
            AuthWhen::Upgrade | AuthWhen::Any => self.proof(policy),
        }
    }
}

/// The token of an `Authorization` header. What was meant for one and is none counts as a bad one, so that nobody is taken
/// for anonymous by mistake: the scheme without a token, and a token without the scheme.
fn user_token(authorization: &str) -> Option<&str> {
    let header = authorization.trim();
    let is_bare = !header.contains(' ') && (header.split('.').count() == 3 || header.eq_ignore_ascii_case("bearer"));
    if is_bare { Some("") } else { bearer(header) }
}

/// The token of the first `bearer.…` entry of a list of subprotocols, such as `starling.v1.json, bearer.eyJ…`.
pub fn subprotocol_token(subprotocols: &str) -> Option<&str> {
    subprotocols.split(',').find_map(|entry| entry.trim().strip_prefix(BEARER_SUBPROTOCOL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_among_subprotocols() {
        for (list, expected) in [
            ("starling.v1.json", None),
            ("bearer.a.b.c", Some("a.b.c")),
            ("starling.v1.json, bearer.a.b.c", Some("a.b.c")),
            ("bearer.a.b.c,starling.v1.msgpack", Some("a.b.c")),
            ("bearer.first, bearer.second", Some("first")),
            ("bearer.", Some("")),
            ("bearer", None),
            ("xbearer.a", None),
            ("", None),
        ] {
            assert_eq!(subprotocol_token(list), expected, "{list:?}");
        }
    }

    #[test]
    fn the_first_proof_counts_and_the_query_only_if_allowed() {
        let all = Offer {
            authorization: Some("Bearer header"),
            subprotocols: Some("bearer.subprotocol"),
            ticket: Some("ticket"),
            token: Some("query"),
        };
        let closed = AuthPolicy::default();
        let open = AuthPolicy { query_token: true, ..closed };
        let without_header = Offer { authorization: Some("Basic cHJveHk6"), ..all };
        let without_subprotocol = Offer { subprotocols: Some("starling.v1.json"), ..without_header };
        let query_only = Offer { token: all.token, ..Offer::default() };
        for (offer, policy, expected) in [
            (all, closed, Some(Proof::Token("header"))),
            (without_header, closed, Some(Proof::Token("subprotocol"))),
            (without_subprotocol, open, Some(Proof::Ticket("ticket"))),
            (query_only, open, Some(Proof::Token("query"))),
            (Offer { authorization: Some("Bearer"), ..query_only }, open, Some(Proof::Token(""))),
            (Offer { authorization: Some("bearer "), ..query_only }, open, Some(Proof::Token(""))),
            (Offer { authorization: Some("eyJh.eyJz.c2ln"), ..query_only }, open, Some(Proof::Token(""))),
            (Offer { authorization: Some("Digest x"), ..query_only }, open, Some(Proof::Token("query"))),
            (query_only, closed, None),
            (Offer::default(), open, None),
        ] {
            assert_eq!(offer.proof(&policy), expected);
        }
        let later = AuthPolicy { when: AuthWhen::FirstMessage, ..closed };
        assert_eq!(all.upgrade_proof(&later), None);
        assert_eq!(all.upgrade_proof(&closed), Some(Proof::Token("header")));
    }
}
