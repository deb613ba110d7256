//! Key pairs and tokens for the tests, and the tokens that must be accepted.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header};
use rcgen::{KeyPair, PublicKeyData};
use serde_json::{Value, json};

use super::super::*;
use super::{NOW, NOW_S};

/// A key pair of one algorithm, and how it is written down.
pub(super) struct Signer {
    pub(super) algorithm: Algorithm,
    pair: KeyPair,
}

impl Signer {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        let kind = match algorithm {
            Algorithm::Rs256 => &rcgen::PKCS_RSA_SHA256,
            Algorithm::Es256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Algorithm::EdDsa => &rcgen::PKCS_ED25519,
            _ => panic!("{algorithm} has no key pair"),
        };
        Self { algorithm, pair: KeyPair::generate_for(kind).unwrap() }
    }

    pub(super) fn public_pem(&self) -> Vec<u8> {
        self.pair.public_key_pem().into_bytes()
    }

    pub(super) fn private_pem(&self) -> Vec<u8> {
        self.pair.serialize_pem().into_bytes()
    }

    pub(super) fn source(&self) -> KeyMaterial {
        KeyMaterial::PublicKey { algorithm: self.algorithm, pem: self.public_pem() }
    }

    pub(super) fn jwk(&self, kid: &str) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let raw = self.pair.der_bytes();
        match self.algorithm {
            Algorithm::Rs256 => {
                let key = aws_lc_rs::rsa::PublicKey::from_der(raw).unwrap();
                let n = encode(key.modulus().big_endian_without_leading_zero());
                let e = encode(key.exponent().big_endian_without_leading_zero());
                json!({"kty": "RSA", "kid": kid, "n": n, "e": e, "use": "sig", "alg": "RS256"})
            }
            Algorithm::Es256 => {
                let (x, y) = (encode(&raw[1..33]), encode(&raw[33..]));
                json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": x, "y": y})
            }
            _ => json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": encode(raw)}),
        }
    }

    pub(super) fn sign(&self, kid: Option<&str>, claims: &Value) -> String {
        let pem = self.private_pem();
        let key = match self.algorithm {
            Algorithm::Rs256 => EncodingKey::from_rsa_pem(&pem),
            Algorithm::Es256 => EncodingKey::from_ec_pem(&pem),
            _ => EncodingKey::from_ed_pem(&pem),
        };
        let mut header = Header::new(self.algorithm.to_jwt());
        header.kid = kid.map(str::to_owned);
        jsonwebtoken::encode(&header, claims, &key.unwrap()).unwrap()
    }
}

pub(super) static RSA: LazyLock<Signer> = LazyLock::new(|| Signer::new(Algorithm::Rs256));
pub(super) static EC: LazyLock<Signer> = LazyLock::new(|| Signer::new(Algorithm::Es256));
pub(super) static ED: LazyLock<Signer> = LazyLock::new(|| Signer::new(Algorithm::EdDsa));

/// A token with any header and claims, signed with an HMAC of `secret`, whatever the header says.
pub(super) fn hmac_token(secret: &[u8], header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    let signature = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// An honest HS256 token.
pub(super) fn hs256(secret: &str, claims: &Value) -> String {
    hmac_token(secret.as_bytes(), &json!({"alg": "HS256", "typ": "JWT"}), claims)
}

/// A verifier of the one app `1`, whose secret signs.
pub(super) fn by_secret() -> Verifier {
    Verifier::new(&[AppKeys::new("1", "key", "secret")]).unwrap()
}

fn alice() -> Value {
    json!({"sub": "alice", "exp": NOW_S + 60})
}

#[test]
fn each_algorithm_verifies_with_its_own_key() {
    for algorithm in [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512] {
        let token = mint(algorithm, b"secret", &NewToken { user: "alice", ..NewToken::default() });
        let token = token.unwrap();
        assert_eq!(&*by_secret().verify(&token, NOW).unwrap().user, "alice", "{algorithm}");

        let secret = b"secret".to_vec();
        let app = AppKeys::new("1", "key", "other").with_jwt(KeyMaterial::Secret { algorithm, secret });
        let verifier = Verifier::new(&[app]).unwrap();
        assert_eq!(&*verifier.verify(&token, NOW).unwrap().user, "alice", "{algorithm}");
    }
    for signer in [&*RSA, &*EC, &*ED] {
        let token = signer.sign(None, &alice());
        let document = json!({"keys": [signer.jwk("a")]}).to_string().into_bytes();
        for source in [signer.source(), KeyMaterial::Jwks { document }] {
            let name = format!("{source:?}");
            let verifier = Verifier::new(&[AppKeys::new("1", "key", "secret").with_jwt(source)]);
            assert_eq!(&*verifier.unwrap().verify(&token, NOW).unwrap().user, "alice", "{name}");
        }
    }
}

#[test]
fn claims_come_out_as_they_went_in() {
    let payload = r#"{"sub":"álice","app":"1","iat":1799999990,"nbf":1799999990.5,"exp":1800000060.25,"iss":"x","aud":["a","b"],
        "info":{"n":12345678901234567890.10,"b":1,"a":2},"subscribe":["room:*","me:{user}"],"publish":["room:1"],"role":"admin"}"#;
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#), URL_SAFE_NO_PAD.encode(payload));
    let key = EncodingKey::from_secret(b"secret");
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, jsonwebtoken::Algorithm::HS256);
    let token = format!("{signed}.{}", signature.unwrap());

    let claims = by_secret().verify(&token, NOW).unwrap();
    assert_eq!((&*claims.user, &*claims.app), ("álice", "1"));
    assert_eq!(claims.expires_at, Some(NOW + 60_250));
    assert_eq!(claims.issued_at, Some(NOW - 10_000));
    let info = claims.info.as_ref().unwrap().get();
    assert_eq!(info, r#"{"n":12345678901234567890.10,"b":1,"a":2}"#);
    assert_eq!(claims.subscribe, ["room:*", "me:{user}"]);
    assert_eq!(claims.publish, ["room:1"]);
    assert!(!format!("{claims:?}").contains("123456"), "info is personal");
}

#[test]
fn minted_tokens_carry_every_claim() {
    let info = serde_json::value::to_raw_value(&json!({"name": "Alice"})).unwrap();
    let token = NewToken {
        user: "alice",
        app: Some("1"),
        issued_at: Some(NOW_S),
        not_before: Some(NOW_S),
        expires_at: Some(NOW_S + 3600),
        issuer: Some("me"),
        audience: Some("you"),
        info: Some(&info),
        subscribe: &["a:*".to_owned()],
        publish: &["b:*".to_owned()],
    };
    let token = mint(Algorithm::Hs256, b"secret", &token).unwrap();
    let mut app = AppKeys::new("1", "key", "secret");
    app.issuer = Some("me".into());
    app.audience = vec!["you".into()];
    let claims = Verifier::new(&[app]).unwrap().verify(&token, NOW).unwrap();
    assert_eq!(claims.info.unwrap().get(), r#"{"name":"Alice"}"#);
    assert_eq!((claims.subscribe, claims.publish), (vec!["a:*".into()], vec!["b:*".into()]));
    assert_eq!((claims.issued_at, claims.expires_at), (Some(NOW), Some(NOW + 3_600_000)));
    let unsigned = mint(Algorithm::Es256, b"secret", &NewToken::default());
    assert_eq!(unsigned, Err(MintError::NotSymmetric(Algorithm::Es256)));
}

#[test]
fn a_token_names_its_app_by_claim_or_by_key() {
    let verifier =
        Verifier::new(&[AppKeys::new("1", "key-1", "secret-1"), AppKeys::new("2", "key-2", "secret-2")]).unwrap();
    let unknown = || Err(TokenError::UnknownApp);
    let header = |kid: Option<&str>| json!({"alg": "HS256", "kid": kid});
    for (name, secret, kid, app, expected) in [
        ("claim", "secret-2", None, json!("2"), Ok("2")),
        ("claim as a number", "secret-2", None, json!(2), Ok("2")),
        ("kid", "secret-1", Some("key-1"), Value::Null, Ok("1")),
        ("both", "secret-1", Some("key-1"), json!("1"), Ok("1")),
        ("a kid of the issuer's own", "secret-1", Some("2026-11"), json!("1"), Ok("1")),
        ("neither", "secret-1", None, Value::Null, unknown()),
        ("contradiction", "secret-1", Some("key-2"), json!("1"), unknown()),
        ("unknown app", "secret-1", None, json!("3"), unknown()),
        ("unknown kid", "secret-1", Some("key-3"), Value::Null, unknown()),
        ("another app's secret", "secret-1", None, json!("2"), Err(TokenError::Signature)),
        ("another app's secret, by kid", "secret-2", Some("key-1"), Value::Null, Err(TokenError::Signature)),
    ] {
        let token = hmac_token(secret.as_bytes(), &header(kid), &json!({"sub": "alice", "app": app}));
        let verdict = verifier.verify(&token, NOW).map(|claims| claims.app);
        assert_eq!(verdict.as_deref(), expected.as_ref().map(|app| *app), "{name}");
    }
}

#[test]
fn keys_that_do_not_fit_their_algorithm_are_configuration_errors() {
    let public_key = |algorithm, pem| KeyMaterial::PublicKey { algorithm, pem };
    let secret = |algorithm, secret: &str| KeyMaterial::Secret { algorithm, secret: secret.into() };
    let url = |url: &str| KeyMaterial::JwksUrl { url: url.into() };
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let document = |text: &str| KeyMaterial::Jwks { document: text.into() };
    use Algorithm::{EdDsa, Es256, Hs256, Rs256};
    for (name, source, expected) in [
        ("EC as RS256", public_key(Rs256, EC.public_pem()), KeyError::Pem(Rs256)),
        ("RSA as ES256", public_key(Es256, RSA.public_pem()), KeyError::Pem(Es256)),
        ("EC as EdDSA", public_key(EdDsa, EC.public_pem()), KeyError::Pem(EdDsa)),
        ("P-384 as ES256", public_key(Es256, p384.public_key_pem().into()), KeyError::Pem(Es256)),
        ("private RSA", public_key(Rs256, RSA.private_pem()), KeyError::Pem(Rs256)),
        ("private EC", public_key(Es256, EC.private_pem()), KeyError::Pem(Es256)),
        ("RSA as HS256", public_key(Hs256, RSA.public_pem()), KeyError::NeedsSecret(Hs256)),
        ("not PEM", public_key(Rs256, b"hello".to_vec()), KeyError::Pem(Rs256)),
        ("empty file", public_key(EdDsa, Vec::new()), KeyError::Pem(EdDsa)),
        ("secret as RS256", secret(Rs256, "s"), KeyError::NeedsPublicKey(Rs256)),
        ("empty secret", secret(Hs256, ""), KeyError::EmptySecret),
        ("JWKS not JSON", document("keys"), KeyError::Jwks(JwksError::Malformed)),
        ("JWKS empty", document(r#"{"keys":[]}"#), KeyError::Jwks(JwksError::NoUsableKey(0))),
        ("http", url("http://example.com/jwks"), KeyError::Url(UrlError::NotHttps)),
        ("http to a loopback look-alike", url("http://127.0.0.1.example.com/"), KeyError::Url(UrlError::NotHttps)),
        ("file", url("file:///etc/passwd"), KeyError::Url(UrlError::NotHttps)),
        ("password", url("https://a:b@example.com/"), KeyError::Url(UrlError::Credentials)),
        ("relative", url("/jwks.json"), KeyError::Url(UrlError::Malformed)),
    ] {
        let app = AppKeys::new("1", "key", "secret").with_jwt(source);
        let expected = AppsError::Jwt { app: "1".into(), entry: 1, error: expected };
        assert_eq!(Verifier::new(&[app]).err(), Some(expected), "{name}");
    }
}
