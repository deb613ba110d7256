//! JWKS: documents with all sorts of keys, and a URL whose keys rotate.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::*;
use super::signing::{EC, ED, RSA, Signer, hs256};
use super::{NOW, NOW_S};

/// A server on 127.0.0.1 that gives the same answer to every request until it is told another one.
struct KeyServer {
    address: SocketAddr,
    answer: Arc<Mutex<Vec<u8>>>,
    /// One item per request.
    requests: mpsc::Receiver<String>,
}

impl KeyServer {
    fn start(document: &Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new(ok(document)));
        let (request, requests) = mpsc::channel();
        let answers = answer.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                    head.push(byte[0]);
                }
                let answer = answers.lock().unwrap().clone();
                // Told before it is answered: who has the answer finds it counted.
                if request.send(String::from_utf8(head).unwrap()).is_err() {
                    return;
                }
                let _ = stream.write_all(&answer);
            }
        });
        Self { address, answer, requests }
    }

    fn url(&self) -> String {
        format!("http://{}/jwks.json?key=hidden", self.address)
    }

    fn answers(&self, answer: Vec<u8>) {
        *self.answer.lock().unwrap() = answer;
    }

    fn requests(&self) -> usize {
        self.requests.try_iter().count()
    }

    fn verifier(&self) -> Verifier {
        let app = AppKeys::new("1", "key", "secret").with_jwt(KeyMaterial::JwksUrl { url: self.url() });
        Verifier::new(&[app]).unwrap()
    }
}

fn ok(document: &Value) -> Vec<u8> {
    response("200 OK", &document.to_string())
}

fn response(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").into_bytes()
}

fn keys(keys: &[Value]) -> Value {
    json!({ "keys": keys })
}

fn alice() -> Value {
    json!({"sub": "alice", "exp": NOW_S + 60})
}

/// The instant `seconds` after an arbitrary one, which is the same for all.
fn at(seconds: u64) -> Instant {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    *START + Duration::from_secs(seconds)
}

#[test]
fn unusable_keys_are_skipped() {
    let with = |signer: &Signer, member: &str, value: Value| {
        let mut jwk = signer.jwk("x");
        jwk[member] = value;
        jwk
    };
    let short = base64url(&[7; 128]);
    for (name, jwk, usable) in [
        ("RSA", RSA.jwk("x"), true),
        ("EC", EC.jwk("x"), true),
        ("OKP", ED.jwk("x"), true),
        ("no kid", with(&EC, "kid", Value::Null), true),
        ("alg that fits", with(&EC, "alg", json!("ES256")), true),
        ("key_ops that fit", with(&EC, "key_ops", json!(["sign", "verify"])), true),
        ("private member", with(&EC, "d", json!("AAAA")), true),
        ("for encryption", with(&RSA, "use", json!("enc")), false),
        ("key_ops for encryption", with(&RSA, "key_ops", json!(["encrypt"])), false),
        ("RS512", with(&RSA, "alg", json!("RS512")), false),
        ("RSA as HS256", with(&RSA, "alg", json!("HS256")), false),
        ("EC as RS256", with(&EC, "alg", json!("RS256")), false),
        ("P-384", with(&EC, "crv", json!("P-384")), false),
        ("Ed448", with(&ED, "crv", json!("Ed448")), false),
        ("X25519", with(&ED, "crv", json!("X25519")), false),
        ("secret", json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}), false),
        ("unknown type", json!({"kty": "PQ"}), false),
        ("RSA of 1024 bits", with(&RSA, "n", json!(short)), false),
        ("RSA of no bits", with(&RSA, "n", json!("AAAA")), false),
        ("even exponent", with(&RSA, "e", json!("AAAC")), false),
        ("no exponent", with(&RSA, "e", Value::Null), false),
        ("not on the curve", with(&EC, "y", EC.jwk("x")["x"].clone()), false),
        ("short coordinate", with(&EC, "x", json!("AAAA")), false),
        ("not base64", with(&ED, "x", json!("!!!")), false),
        ("not an object", json!("key"), false),
    ] {
        let alone = jwks::parse(keys(std::slice::from_ref(&jwk)).to_string().as_bytes());
        assert_eq!(alone.is_ok(), usable, "{name}");
        let among_others = jwks::parse(keys(&[jwk, ED.jwk("y")]).to_string().as_bytes());
        assert_eq!(among_others.unwrap().len(), 1 + usize::from(usable), "{name}");
    }
}

fn base64url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

#[test]
fn documents_are_bounded() {
    let many = keys(&vec![ED.jwk("x"); MAX_JWKS_KEYS + 1]).to_string();
    assert_eq!(jwks::parse(many.as_bytes()).unwrap().len(), MAX_JWKS_KEYS);
    let large = format!("{}{}", " ".repeat(MAX_JWKS_BYTES), keys(&[ED.jwk("x")]));
    assert_eq!(jwks::parse(large.as_bytes()).err(), Some(JwksError::TooLarge));
}

#[test]
fn a_kid_chooses_the_key_and_none_tries_them_all() {
    let other = Signer::new(Algorithm::EdDsa);
    let document = keys(&[ED.jwk("a"), other.jwk("b"), EC.jwk("c"), RSA.jwk("d")]);
    let document = document.to_string().into_bytes();
    let app = AppKeys::new("1", "key", "secret").with_jwt(KeyMaterial::Jwks { document });
    let verifier = Verifier::new(&[app]).unwrap();
    for (name, signer, kid, expected) in [
        ("first", &*ED, Some("a"), None),
        ("second", &other, Some("b"), None),
        ("third", &*EC, Some("c"), None),
        ("fourth", &*RSA, Some("d"), None),
        ("no kid", &other, None, None),
        ("the app's key", &other, Some("key"), None),
        ("crossed", &other, Some("a"), Some(TokenError::Signature)),
        ("unknown kid", &other, Some("z"), Some(TokenError::Signature)),
        ("another algorithm's kid", &*ED, Some("c"), Some(TokenError::Signature)),
    ] {
        let verdict = verifier.verify(&signer.sign(kid, &alice()), NOW);
        assert_eq!(verdict.err(), expected, "{name}");
    }
}

#[tokio::test]
async fn keys_behind_a_url_rotate() {
    let (old, new) = (Signer::new(Algorithm::Es256), Signer::new(Algorithm::EdDsa));
    let server = KeyServer::start(&keys(&[old.jwk("old")]));
    let verifier = server.verifier();
    let (by_old, by_new) = (old.sign(Some("old"), &alice()), new.sign(Some("new"), &alice()));

    // Nothing is fetched before it is needed.
    assert_eq!(verifier.verify(&by_old, NOW).err(), Some(TokenError::KeysUnavailable));
    assert_eq!(server.requests(), 0);
    assert!(verifier.verify_fresh_at(&by_old, NOW, at(0)).await.is_ok());
    assert_eq!(server.requests(), 1);
    assert!(verifier.verify(&by_old, NOW).is_ok());

    // An unknown key is looked for at most every 10 s.
    server.answers(ok(&keys(&[old.jwk("old"), new.jwk("new")])));
    assert_eq!(verifier.verify(&by_new, NOW).err(), Some(TokenError::KeyUnknown));
    let too_soon = verifier.verify_fresh_at(&by_new, NOW, at(9)).await;
    assert_eq!(too_soon.err(), Some(TokenError::KeyUnknown));
    assert_eq!(server.requests(), 0);
    assert!(verifier.verify_fresh_at(&by_new, NOW, at(10)).await.is_ok());
    assert_eq!(server.requests(), 1);
    assert!(verifier.verify(&by_old, NOW).is_ok());

    // The old key is withdrawn.
    server.answers(ok(&keys(&[new.jwk("new")])));
    let stranger = Signer::new(Algorithm::EdDsa).sign(Some("stranger"), &alice());
    let refused = verifier.verify_fresh_at(&stranger, NOW, at(20)).await;
    assert_eq!(refused.err(), Some(TokenError::KeyUnknown));
    assert_eq!(verifier.verify(&by_old, NOW).err(), Some(TokenError::KeyUnknown));
    assert!(verifier.verify(&by_new, NOW).is_ok());
}

#[tokio::test]
async fn known_keys_outlive_a_url_that_fails() {
    let server = KeyServer::start(&keys(&[ED.jwk("a")]));
    let verifier = server.verifier();
    let (known, unknown) = (ED.sign(Some("a"), &alice()), ED.sign(Some("b"), &alice()));
    assert!(verifier.verify_fresh_at(&known, NOW, at(0)).await.is_ok());
    let new_key = keys(&[ED.jwk("b")]).to_string();
    let padded = format!("{}{new_key}", " ".repeat(MAX_JWKS_BYTES));
    let endless = b"HTTP/1.1 200 OK\r\n\r\n".iter().copied().chain(padded.bytes());
    for (step, (name, answer)) in [
        ("status 500", response("500 Oops", &new_key)),
        ("status 204", response("204 No Content", "")),
        ("redirect", response(&format!("302 Found\r\nlocation: {}", server.url()), &new_key)),
        ("not JSON", response("200 OK", "<html>")),
        ("no keys", response("200 OK", r#"{"keys":[]}"#)),
        ("too large", response("200 OK", &padded)),
        ("too large, length unknown", endless.collect()),
        ("cut off", b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n{".to_vec()),
        ("not HTTP", b"hello\r\n\r\n".to_vec()),
        ("silence", Vec::new()),
    ]
    .into_iter()
    .enumerate()
    {
        server.requests();
        server.answers(answer);
        let moment = at(10 * (step as u64 + 1));
        let verdict = verifier.verify_fresh_at(&unknown, NOW, moment).await;
        assert_eq!(verdict.err(), Some(TokenError::KeyUnknown), "{name}");
        assert!(server.requests() >= 1, "{name}: was asked");
        assert!(verifier.verify(&known, NOW).is_ok(), "{name}");
    }
    server.answers(response("200 OK", &new_key));
    assert!(verifier.verify_fresh_at(&unknown, NOW, at(1000)).await.is_ok());
}

#[tokio::test]
async fn tokens_that_no_fetch_could_help_cause_none() {
    let server = KeyServer::start(&keys(&[ED.jwk("a")]));
    let verifier = server.verifier();
    verifier.verify_fresh_at(&ED.sign(Some("a"), &alice()), NOW, at(0)).await.unwrap();
    assert_eq!(server.requests(), 1);
    let forged = Signer::new(Algorithm::EdDsa).sign(Some("a"), &alice());
    for (name, token, expected) in [
        ("HS256 by the app's secret", hs256("secret", &alice()), TokenError::Algorithm),
        ("forged with a known kid", forged, TokenError::Signature),
        ("garbage", "a.b.c".to_owned(), TokenError::Malformed),
        ("expired", ED.sign(Some("a"), &json!({"sub": "a", "exp": 1})), TokenError::Expired { at: 1000 }),
    ] {
        let verdict = verifier.verify_fresh_at(&token, NOW, at(100)).await;
        assert_eq!(verdict.err(), Some(expected), "{name}");
        assert_eq!(server.requests(), 0, "{name}");
    }
}

#[tokio::test]
async fn many_who_wait_cause_one_fetch() {
    let server = KeyServer::start(&keys(&[ED.jwk("a")]));
    let verifier = Arc::new(server.verifier());
    let token = ED.sign(Some("a"), &alice());
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let (verifier, token) = (verifier.clone(), token.clone());
            tokio::spawn(async move { verifier.verify_fresh_at(&token, NOW, at(0)).await.is_ok() })
        })
        .collect();
    for one in waiting {
        assert!(one.await.unwrap());
    }
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_watched_url_is_fetched_at_once_and_once() {
    let server = KeyServer::start(&keys(&[ED.jwk("a")]));
    let url = || KeyMaterial::JwksUrl { url: server.url() };
    let apps = [
        AppKeys::new("1", "key-1", "secret-1").with_jwt(url()),
        AppKeys::new("2", "key-2", "secret-2").with_jwt(url()),
    ];
    let auth = Authenticator::new(&apps, Arc::new(MemoryLedger::new())).unwrap();
    auth.watch(&Handle::current());
    auth.watch(&Handle::current());
    // Waits for the fetch that the watch began, or fetches itself: one request either way.
    let token = |app: &str| ED.sign(Some("a"), &json!({"sub": "alice", "app": app}));
    assert!(auth.verify_fresh(&token("1"), NOW).await.is_ok());
    assert!(auth.verify(&token("2"), NOW).is_ok());

    // A reload keeps the keys of a URL that stays.
    auth.replace(&apps[..1]).unwrap();
    assert!(auth.verify(&token("1"), NOW).is_ok());
    assert_eq!(auth.verify(&token("2"), NOW).err(), Some(TokenError::UnknownApp));
    assert_eq!(server.requests(), 1);
}
