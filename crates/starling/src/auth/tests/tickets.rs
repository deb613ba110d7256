//! Tickets: once, for 30 s, and only as issued.

use std::collections::HashSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::super::*;
use super::signing::{by_secret, hs256};
use super::{NOW, NOW_S};

fn tickets() -> Tickets {
    Tickets::new(&[AppKeys::new("1", "key", "secret")], Arc::new(MemoryLedger::new()))
}

fn alice() -> Claims {
    let token = hs256(
        "secret",
        &json!({"sub": "alice", "iat": NOW_S, "exp": NOW_S + 3600, "info": {"n": 1}, "subscribe": ["a:*"]}),
    );
    by_secret().verify(&token, NOW).unwrap()
}

#[tokio::test]
async fn a_ticket_stands_for_its_claims_once() {
    let tickets = tickets();
    let ticket = tickets.issue(&alice(), NOW).unwrap();
    assert_eq!(ticket.expires_in, 30);
    let claims = tickets.redeem(&ticket.ticket, NOW + 1).await.unwrap();
    assert_eq!((&*claims.user, &*claims.app), ("alice", "1"));
    assert_eq!(claims.info.unwrap().get(), r#"{"n":1}"#);
    assert_eq!(claims.subscribe, ["a:*"]);
    assert_eq!((claims.issued_at, claims.expires_at), (Some(NOW), Some(NOW + 3_600_000)));

    for later in [1, 2, 29_999] {
        let again = tickets.redeem(&ticket.ticket, NOW + later).await;
        assert_eq!(again.err(), Some(TicketError::Used));
    }
    let late = tickets.redeem(&ticket.ticket, NOW + 30_000).await;
    assert_eq!(late.err(), Some(TicketError::Expired));
    // A clock that is set back does not bring it back.
    let set_back = tickets.redeem(&ticket.ticket, NOW).await;
    assert_eq!(set_back.err(), Some(TicketError::Used));
}

#[tokio::test]
async fn a_ticket_ends_after_30_s_or_with_its_token() {
    let tickets = tickets();
    let ending = |seconds: u64| Claims { expires_at: Some(NOW + seconds * 1000), ..alice() };
    for (name, claims, lifetime) in [
        ("long token", alice(), 30),
        ("endless token", Claims { expires_at: None, ..alice() }, 30),
        ("short token", ending(5), 5),
    ] {
        let ticket = tickets.issue(&claims, NOW).unwrap();
        assert_eq!(ticket.expires_in, lifetime, "{name}");
        let end = NOW + lifetime * 1000;
        let late = tickets.redeem(&ticket.ticket, end).await;
        assert_eq!(late.err(), Some(TicketError::Expired), "{name}");
        assert!(tickets.redeem(&ticket.ticket, end - 1).await.is_ok(), "{name}");
    }
    assert_eq!(tickets.issue(&ending(0), NOW), Err(TicketError::Expired));
    assert_eq!(TicketError::Expired.code(), TokenCode::Expired);
}

#[tokio::test]
async fn another_node_redeems_it_with_the_same_secret_only() {
    let node = |id: &str, secret: &str, ledger: &Arc<MemoryLedger>| {
        Tickets::new(&[AppKeys::new(id, "key", secret)], ledger.clone())
    };
    let shared = Arc::new(MemoryLedger::new());
    let (first, second) = (node("1", "secret", &shared), node("1", "secret", &shared));
    let ticket = first.issue(&alice(), NOW).unwrap().ticket;
    for (name, other) in [("other secret", node("1", "other", &shared)), ("other app", node("2", "secret", &shared))] {
        assert_eq!(other.redeem(&ticket, NOW).await.err(), Some(TicketError::Invalid), "{name}");
    }
    assert!(second.redeem(&ticket, NOW).await.is_ok());
    assert_eq!(first.redeem(&ticket, NOW).await.err(), Some(TicketError::Used));
}

#[tokio::test]
async fn a_changed_ticket_is_none() {
    let tickets = tickets();
    let ticket = tickets.issue(&alice(), NOW).unwrap().ticket;
    let bytes = URL_SAFE_NO_PAD.decode(&ticket).unwrap();
    for position in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[position] ^= 1;
        let changed = URL_SAFE_NO_PAD.encode(changed);
        let verdict = tickets.redeem(&changed, NOW).await;
        assert_eq!(verdict.err(), Some(TicketError::Invalid), "byte {position}");
    }
    for length in 0..bytes.len() {
        let cut = URL_SAFE_NO_PAD.encode(&bytes[..length]);
        let verdict = tickets.redeem(&cut, NOW).await;
        assert_eq!(verdict.err(), Some(TicketError::Invalid), "first {length} bytes");
    }
    for garbage in ["", "!", "eyJ.eyJ.x", "é", &"A".repeat(10_000_000)] {
        assert_eq!(tickets.redeem(garbage, NOW).await.err(), Some(TicketError::Invalid));
    }
    assert!(tickets.redeem(&ticket, NOW).await.is_ok(), "none of this used it up");
}

#[tokio::test]
async fn tickets_are_unlike_each_other_and_show_nothing() {
    let tickets = tickets();
    let issued: HashSet<_> = (0..100).map(|_| tickets.issue(&alice(), NOW).unwrap().ticket).collect();
    assert_eq!(issued.len(), 100);
    for ticket in &issued {
        let bytes = URL_SAFE_NO_PAD.decode(ticket).unwrap();
        assert!(!bytes.windows(5).any(|window| window == b"alice"));
    }
    let shown = format!("{:?}", tickets.issue(&alice(), NOW).unwrap());
    assert_eq!(shown, "Ticket { expires_in: 30, .. }");
}

#[tokio::test]
async fn the_largest_claims_fit() {
    let mut fill = MAX_TOKEN_BYTES * 3 / 4 - 100;
    let (token, claims) = loop {
        let token = hs256("secret", &json!({"sub": "a", "info": {"x": "\u{1}".repeat(fill / 6)}}));
        match by_secret().verify(&token, NOW) {
            Ok(claims) => break (token, claims),
            Err(_) => fill -= 6,
        }
    };
    assert!(token.len() > MAX_TOKEN_BYTES - 100);
    let tickets = tickets();
    let ticket = tickets.issue(&claims, NOW).unwrap();
    assert!(tickets.redeem(&ticket.ticket, NOW).await.is_ok());
}

#[tokio::test]
async fn a_full_ledger_refuses() {
    let ledger = Arc::new(MemoryLedger::with_limit(1));
    let tickets = Tickets::new(&[AppKeys::new("1", "key", "secret")], ledger);
    let issue = || tickets.issue(&alice(), NOW).unwrap().ticket;
    let (first, second) = (issue(), issue());
    assert!(tickets.redeem(&first, NOW).await.is_ok());
    assert_eq!(tickets.redeem(&second, NOW).await.err(), Some(TicketError::Full));
    let later = NOW + 100_000;
    let third = tickets.issue(&alice(), later).unwrap().ticket;
    assert!(tickets.redeem(&third, later).await.is_ok());
}

#[tokio::test]
async fn of_many_who_come_at_once_one_gets_in() {
    let tickets = Arc::new(tickets());
    let ticket = tickets.issue(&alice(), NOW).unwrap().ticket;
    let racing: Vec<_> = (0..50)
        .map(|_| {
            let (tickets, ticket) = (tickets.clone(), ticket.clone());
            tokio::spawn(async move { tickets.redeem(&ticket, NOW).await.is_ok() })
        })
        .collect();
    let mut winners = 0;
    for one in racing {
        winners += usize::from(one.await.unwrap());
    }
    assert_eq!(winners, 1);
}
