//! A whole server in the process of the test.

#![allow(dead_code, reason = "each test file uses a part")]

use std::net::SocketAddr;
use std::time::Duration;

use starling::auth::{Algorithm, AppKeys, NewToken, mint};
use starling::core::{Access, HistoryPolicy, Pattern, PresencePolicy, PublishAccess, Rule};
use starling::{Builder, Server};
use starling_client::{Client, Item, Status, Subscription};

/// Longer than anything here takes, so that a broken test ends.
pub const PATIENCE: Duration = Duration::from_secs(120);
const SECRET: &str = "a secret of some length";

/// A server on which everybody may do everything. Channels that begin with `brief:` remember nothing.
pub fn builder() -> Builder {
    let open = |pattern: &str| {
        let mut rule = Rule::new(Pattern::parse(pattern).unwrap());
        rule.subscribe = Access::Anyone;
        rule.publish = PublishAccess::Anyone;
        rule.presence = Some(PresencePolicy::default());
        rule
    };
    let mut remembering = open("*");
    remembering.history = Some(HistoryPolicy { size: 10_000, ttl: Duration::from_secs(3600) });
    Server::builder()
        .listen("127.0.0.1:0")
        .app(AppKeys::new("1", "key", SECRET))
        .anonymous()
        .workers(1)
        .rule(open("brief:*"))
        .rule(remembering)
        .configure(|options| {
            options.live.limits.messages_per_second = 100_000;
            options.live.limits.burst = 100_000;
        })
}

pub fn start() -> (Server, SocketAddr) {
    let server = builder().start().unwrap();
    let address = server.addresses()[0];
    (server, address)
}

/// A token of this user, which expires after so long.
pub fn token(user: &str, lasting: Duration) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let expires_at = Some(now + lasting.as_secs());
    mint(Algorithm::Hs256, SECRET.as_bytes(), &NewToken { user, expires_at, ..NewToken::default() }).unwrap()
}

/// Waits until the client is connected, and gives the connection's id.
pub async fn connected(client: &Client) -> String {
    let mut status = client.status();
    let connected = status.wait_for(|status| matches!(status, Status::Connected { .. }));
    let status = tokio::time::timeout(PATIENCE, connected).await.expect("a connection").unwrap();
    match &*status {
        Status::Connected { connection_id, .. } => connection_id.clone(),
        _ => unreachable!("waited for"),
    }
}

/// The next item of a subscription.
pub async fn next(subscription: &mut Subscription) -> Item {
    tokio::time::timeout(PATIENCE, subscription.next()).await.expect("an item in time").expect("no end")
}

/// The number in the next message, which nothing but a recovery may come before.
pub async fn next_number(subscription: &mut Subscription) -> u64 {
    loop {
        match next(subscription).await {
            Item::Message(message) => return message.json().unwrap(),
            Item::Recovered(true) => {}
            other => panic!("expected a message, got {other:?}"),
        }
    }
}
