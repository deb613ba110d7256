//! The [`Authenticator`]: its parts together, and what survives a change of the configuration.

use std::sync::Arc;

use serde_json::json;

use super::super::*;
use super::signing::{ED, hs256};
use super::{NOW, NOW_S};

fn authenticator(apps: &[AppKeys]) -> Authenticator {
    Authenticator::new(apps, Arc::new(MemoryLedger::new())).unwrap()
}

fn app() -> AppKeys {
    AppKeys::new("1", "key", "secret")
}

#[tokio::test]
async fn a_revocation_refuses_tokens_and_tickets() {
    let auth = authenticator(&[app()]);
    let token = |iat: Option<u64>| hs256("secret", &json!({"sub": "alice", "iat": iat}));
    let claims = auth.verify(&token(Some(NOW_S - 1)), NOW).unwrap();
    assert!(auth.verify(&token(None), NOW).is_ok());
    let ticket = auth.issue_ticket(&claims, NOW).unwrap().ticket;
    assert!(!auth.is_revoked(&claims));

    auth.revocations().revoke("1", "alice", NOW, NOW).unwrap();
    for refused in [token(Some(NOW_S - 1)), token(None)] {
        let verdict = auth.verify(&refused, NOW);
        assert_eq!(verdict.err(), Some(TokenError::Revoked));
        let verdict = auth.verify_fresh(&refused, NOW).await;
        assert_eq!(verdict.err(), Some(TokenError::Revoked));
    }
    assert_eq!(auth.redeem(&ticket, NOW).await.err(), Some(TicketError::Revoked));
    assert!(auth.is_revoked(&claims));
    assert!(auth.verify(&token(Some(NOW_S)), NOW).is_ok());
    assert!(auth.verify(&hs256("secret", &json!({"sub": "bob"})), NOW).is_ok());
    assert_eq!(TokenError::Revoked.code(), TokenCode::Invalid);
}

#[tokio::test]
async fn a_new_configuration_keeps_revocations_and_used_tickets() {
    let auth = authenticator(&[app()]);
    let token = hs256("secret", &json!({"sub": "alice", "iat": NOW_S}));
    let claims = auth.verify(&token, NOW).unwrap();
    let issue = || auth.issue_ticket(&claims, NOW).unwrap().ticket;
    let (used, outstanding) = (issue(), issue());
    assert!(auth.redeem(&used, NOW).await.is_ok());
    auth.revocations().revoke("1", "bob", NOW, NOW).unwrap();

    let second = AppKeys::new("2", "key-2", "secret-2");
    auth.replace(&[app(), second.clone()]).unwrap();
    assert_eq!(auth.redeem(&used, NOW).await.err(), Some(TicketError::Used));
    assert!(auth.redeem(&outstanding, NOW).await.is_ok());
    let bob = hs256("secret", &json!({"sub": "bob", "app": "1"}));
    assert_eq!(auth.verify(&bob, NOW).err(), Some(TokenError::Revoked));
    assert_eq!(auth.app(Some("Bearer secret-2")).as_deref(), Ok("2"));
    // With two apps the token has to say which.
    assert_eq!(auth.verify(&token, NOW).err(), Some(TokenError::UnknownApp));

    let refused = auth.replace(&[second.clone(), second]);
    assert_eq!(refused, Err(AppsError::DuplicateId("2".into())));
    assert_eq!(auth.app(Some("Bearer secret")).as_deref(), Ok("1"), "the old one stays");

    auth.replace(&[app().with_jwt(ED.source())]).unwrap();
    assert_eq!(auth.verify(&token, NOW).err(), Some(TokenError::Algorithm));
    assert!(auth.verify(&ED.sign(None, &json!({"sub": "alice"})), NOW).is_ok());
    assert_eq!(auth.app(Some("Bearer secret-2")), Err(CredentialsError::Wrong));
}
