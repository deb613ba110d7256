//! Tokens that must be refused, and why.

use serde_json::{Value, json};

use super::super::*;
use super::signing::{EC, ED, RSA, by_secret, hmac_token, hs256};
use super::{NOW, NOW_S};

fn refusal(verifier: &Verifier, token: &str) -> TokenError {
    match verifier.verify(token, NOW) {
        Ok(claims) => panic!("accepted {claims:?}"),
        Err(error) => error,
    }
}

#[test]
fn bad_claims() {
    let verifier = by_secret();
    let claim = TokenError::Claim;
    let out_of_range = |name| TokenError::Claim(ClaimError::TimeOutOfRange(name));
    let at = |seconds: u64| seconds * 1000;
    for (name, claims, expected) in [
        ("no sub", json!({"exp": NOW_S + 60}), claim(ClaimError::NoUser)),
        ("null sub", json!({"sub": null}), claim(ClaimError::NoUser)),
        ("empty sub", json!({"sub": ""}), claim(ClaimError::NoUser)),
        ("sub of 256 bytes", json!({"sub": "é".repeat(128)}), claim(ClaimError::UserTooLong(256))),
        ("line feed in sub", json!({"sub": "a\nb"}), claim(ClaimError::ControlCharacter)),
        ("NUL in sub", json!({"sub": "a\0"}), claim(ClaimError::ControlCharacter)),
        ("C1 control in sub", json!({"sub": "a\u{85}"}), claim(ClaimError::ControlCharacter)),
        ("sub as a number", json!({"sub": 7}), claim(ClaimError::Malformed)),
        ("expired", json!({"sub": "a", "exp": NOW_S - 1}), TokenError::Expired { at: at(NOW_S - 1) }),
        ("expired this moment", json!({"sub": "a", "exp": NOW_S}), TokenError::Expired { at: NOW }),
        ("expired in 1970", json!({"sub": "a", "exp": 0}), TokenError::Expired { at: 0 }),
        ("not yet", json!({"sub": "a", "nbf": NOW_S + 3}), TokenError::NotYetValid { from: at(NOW_S + 3) }),
        ("exp as text", json!({"sub": "a", "exp": "1900000000"}), claim(ClaimError::Malformed)),
        ("exp as a list", json!({"sub": "a", "exp": [1]}), claim(ClaimError::Malformed)),
        ("exp negative", json!({"sub": "a", "exp": -1}), out_of_range("exp")),
        ("exp in milliseconds", json!({"sub": "a", "exp": NOW}), out_of_range("exp")),
        ("exp of 2^64-1", json!({"sub": "a", "exp": u64::MAX}), out_of_range("exp")),
        ("exp of 1e300", json!({"sub": "a", "exp": 1e300}), out_of_range("exp")),
        ("nbf of 1e300", json!({"sub": "a", "nbf": 1e300}), out_of_range("nbf")),
        ("iat negative", json!({"sub": "a", "iat": -1.5}), out_of_range("iat")),
        ("info as text", json!({"sub": "a", "info": "x"}), claim(ClaimError::InfoNotAnObject)),
        ("info as a list", json!({"sub": "a", "info": [1]}), claim(ClaimError::InfoNotAnObject)),
        ("subscribe as text", json!({"sub": "a", "subscribe": "*"}), claim(ClaimError::Malformed)),
        ("publish of numbers", json!({"sub": "a", "publish": [1]}), claim(ClaimError::Malformed)),
        ("app of another kind", json!({"sub": "a", "app": ["1"]}), claim(ClaimError::Malformed)),
        ("another app", json!({"sub": "a", "app": "2"}), TokenError::UnknownApp),
        ("no object", json!(["a"]), claim(ClaimError::Malformed)),
        ("text", json!("a"), claim(ClaimError::Malformed)),
        ("null", Value::Null, claim(ClaimError::Malformed)),
    ] {
        assert_eq!(refusal(&verifier, &hs256("secret", &claims)), expected, "{name}");
    }
}

#[test]
fn claims_at_the_boundary_are_accepted() {
    let verifier = by_secret();
    for (name, claims) in [
        ("no exp", json!({"sub": "a"})),
        ("a millisecond left", json!({"sub": "a", "exp": NOW_S as f64 + 0.001})),
        ("nbf within the leeway", json!({"sub": "a", "nbf": NOW_S + 2})),
        ("the last second of 9999", json!({"sub": "a", "exp": 253_402_300_799_u64})),
        ("issued in the future", json!({"sub": "a", "iat": NOW_S + 60})),
        ("sub of 255 bytes", json!({"sub": "x".repeat(255)})),
        ("nulls", json!({"sub": "a", "exp": null, "info": null, "subscribe": null, "app": null})),
        ("an audience nobody asked about", json!({"sub": "a", "aud": "x", "iss": "y"})),
    ] {
        let verdict = verifier.verify(&hs256("secret", &claims), NOW);
        assert!(verdict.is_ok(), "{name}: {verdict:?}");
    }
}

#[test]
fn bad_forms() {
    let verifier = by_secret();
    let good = hs256("secret", &json!({"sub": "alice"}));
    let parts: Vec<_> = good.split('.').collect();
    let long = hs256("secret", &json!({"sub": "a", "info": {"x": "y".repeat(MAX_TOKEN_BYTES)}}));
    let long_error = TokenError::TooLong(long.len());
    let huge = "a".repeat(10_000_000);
    let with_header = |header: Value| hmac_token(b"secret", &header, &json!({"sub": "alice"}));
    for (name, token, expected) in [
        ("empty", String::new(), TokenError::Malformed),
        ("dots", "..".into(), TokenError::Malformed),
        ("one part", "abc".into(), TokenError::Malformed),
        ("two parts", format!("{}.{}", parts[0], parts[1]), TokenError::Malformed),
        ("four parts", format!("{good}.x"), TokenError::Malformed),
        ("five parts (JWE)", "a.b.c.d.e".into(), TokenError::Malformed),
        ("truncated", good[..good.len() - 1].into(), TokenError::Signature),
        ("no signature", format!("{}.{}.", parts[0], parts[1]), TokenError::Signature),
        ("changed payload", format!("{}.{}A.{}", parts[0], parts[1], parts[2]), TokenError::Malformed),
        ("garbage header", format!("!!!.{}.{}", parts[1], parts[2]), TokenError::Malformed),
        ("garbage payload", format!("{}.%%%.{}", parts[0], parts[2]), TokenError::Malformed),
        ("garbage signature", format!("{}.{}.!!!", parts[0], parts[1]), TokenError::Signature),
        ("padded", format!("{good}=="), TokenError::Signature),
        ("spaces", format!(" {good}"), TokenError::Malformed),
        ("not ASCII", format!("é{good}"), TokenError::Malformed),
        ("header is no JSON", format!("YWJj.{}.{}", parts[1], parts[2]), TokenError::Malformed),
        ("no alg", with_header(json!({"typ": "JWT"})), TokenError::Malformed),
        ("alg as a number", with_header(json!({"alg": 5})), TokenError::Malformed),
        (
            "critical extension",
            with_header(json!({"alg": "HS256", "crit": ["b64"], "b64": false})),
            TokenError::Malformed,
        ),
        ("too long", long, long_error),
        ("huge", huge, TokenError::TooLong(10_000_000)),
    ] {
        assert_eq!(refusal(&verifier, &token), expected, "{name}");
        assert_eq!(expected.code(), TokenCode::Invalid);
    }
}

#[test]
fn nothing_in_a_token_panics() {
    let verifier = by_secret();
    let good = hs256("secret", &json!({"sub": "alice", "exp": NOW_S + 60}));
    for length in 0..good.len() {
        assert!(verifier.verify(&good[..length], NOW).is_err(), "first {length} bytes");
    }
    for position in 0..good.len() - 1 {
        let mut bytes = good.clone().into_bytes();
        bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(verifier.verify(&changed, NOW).is_err(), "byte {position} changed");
    }
}

#[test]
fn nesting_of_info_is_bounded() {
    let verifier = by_secret();
    let nested = |depth: usize| {
        let list = format!("{}{}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        let payload = format!(r#"{{"sub":"a","info":{{"x":{list}}}}}"#);
        let raw: Box<serde_json::value::RawValue> = serde_json::from_str(&payload).unwrap();
        let key = jsonwebtoken::EncodingKey::from_secret(b"secret");
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), &raw, &key).unwrap()
    };
    assert!(verifier.verify(&nested(MAX_INFO_DEPTH), NOW).is_ok());
    for depth in [MAX_INFO_DEPTH + 1, 5_000] {
        let error = refusal(&verifier, &nested(depth));
        assert_eq!(error, TokenError::Claim(ClaimError::InfoTooDeep), "{depth}");
    }
}

#[test]
fn the_key_decides_about_the_algorithm() {
    let claims = json!({"sub": "alice"});
    let by_rsa = Verifier::new(&[AppKeys::new("1", "key", "secret").with_jwt(RSA.source())]);
    let by_rsa = by_rsa.unwrap();
    let by_hs512 = Verifier::new(&[AppKeys::new("1", "key", "x")
        .with_jwt(KeyMaterial::Secret { algorithm: Algorithm::Hs512, secret: b"secret".to_vec() })])
    .unwrap();
    let unsigned = |alg: &str| {
        let token = hmac_token(b"", &json!({"alg": alg}), &claims);
        format!("{}.", token.rsplit_once('.').unwrap().0)
    };
    let public_pem = RSA.public_pem();
    let public_der = pem_contents(&public_pem);
    let hs256_by = |secret: &[u8]| hmac_token(secret, &json!({"alg": "HS256"}), &claims);
    let relabelled = |alg: &str| {
        let honest = RSA.sign(None, &claims);
        let header = hmac_token(b"", &json!({"alg": alg}), &claims);
        let header = header.split('.').next().unwrap().to_owned();
        format!("{header}.{}", honest.split_once('.').unwrap().1)
    };
    for (name, verifier, token) in [
        ("none", &by_rsa, unsigned("none")),
        ("None", &by_rsa, unsigned("None")),
        ("none with a signature", &by_rsa, hmac_token(b"secret", &json!({"alg": "none"}), &claims)),
        ("RSA PEM as HS256 secret", &by_rsa, hs256_by(&public_pem)),
        ("RSA PEM, trimmed, as HS256 secret", &by_rsa, hs256_by(public_pem.trim_ascii())),
        ("RSA DER as HS256 secret", &by_rsa, hs256_by(&public_der)),
        ("the app's secret where jwt is set", &by_rsa, hs256_by(b"secret")),
        ("ES256 without a key for it", &by_rsa, EC.sign(None, &claims)),
        ("EdDSA without a key for it", &by_rsa, ED.sign(None, &claims)),
        ("RS256 called RS512", &by_rsa, relabelled("RS512")),
        ("RS256 called PS256", &by_rsa, relabelled("PS256")),
        ("HS256 where HS512 is configured", &by_hs512, hs256_by(b"secret")),
    ] {
        assert_eq!(refusal(verifier, &token), TokenError::Algorithm, "{name}");
    }
    let by_default = by_secret();
    assert_eq!(refusal(&by_default, &unsigned("none")), TokenError::Algorithm);
    assert_eq!(refusal(&by_default, &unsigned("HS256")), TokenError::Signature);
    assert_eq!(refusal(&by_default, &RSA.sign(None, &claims)), TokenError::Algorithm);
    assert_eq!(refusal(&by_default, &hs256_by(b"Secret")), TokenError::Signature);
    assert_eq!(refusal(&by_default, &hs256_by(b"")), TokenError::Signature);

    let other = super::signing::Signer::new(Algorithm::Rs256);
    assert_eq!(refusal(&by_rsa, &other.sign(None, &claims)), TokenError::Signature);
    // A key that the token brings along is not a key.
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
    header.jwk = serde_json::from_value(other.jwk("a")).unwrap();
    let key = jsonwebtoken::EncodingKey::from_rsa_pem(&other.private_pem()).unwrap();
    let with_jwk = jsonwebtoken::encode(&header, &claims, &key).unwrap();
    assert_eq!(refusal(&by_rsa, &with_jwk), TokenError::Signature);
}

fn pem_contents(pem: &[u8]) -> Vec<u8> {
    use base64::Engine as _;
    let text = std::str::from_utf8(pem).unwrap();
    let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    base64::engine::general_purpose::STANDARD.decode(body).unwrap()
}

#[test]
fn issuer_and_audience_are_those_of_the_key() {
    let mut app = AppKeys::new("1", "key", "secret");
    app.issuer = Some("https://issuer".into());
    app.audience = vec!["starling".into()];
    // The second source has an issuer of its own, and takes the app's audience.
    let mut ec = KeySource::from(EC.source());
    ec.issuer = Some("https://other".into());
    let app = app.with_jwt(ED.source()).with_jwt(ec);
    let verifier = Verifier::new(&[app]).unwrap();

    let token = |signer: &super::signing::Signer, iss: Value, aud: Value| {
        signer.sign(None, &json!({"sub": "alice", "iss": iss, "aud": aud}))
    };
    let (ours, other) = (json!("https://issuer"), json!("https://other"));
    let aud = || json!("starling");
    for (name, token, expected) in [
        ("good", token(&ED, ours.clone(), aud()), None),
        ("good, several", token(&ED, ours.clone(), json!(["a", "starling"])), None),
        ("good, the other", token(&EC, other.clone(), aud()), None),
        ("the other's issuer", token(&ED, other.clone(), aud()), Some(TokenError::Issuer)),
        ("the app's issuer", token(&EC, ours.clone(), aud()), Some(TokenError::Issuer)),
        ("no issuer", token(&ED, Value::Null, aud()), Some(TokenError::Issuer)),
        ("issuer with a slash", token(&ED, json!("https://issuer/"), aud()), Some(TokenError::Issuer)),
        ("wrong audience", token(&ED, ours.clone(), json!("x")), Some(TokenError::Audience)),
        ("wrong audiences", token(&ED, ours.clone(), json!(["x", "y"])), Some(TokenError::Audience)),
        ("no audience", token(&ED, ours.clone(), Value::Null), Some(TokenError::Audience)),
        ("empty audience", token(&ED, ours.clone(), json!([])), Some(TokenError::Audience)),
        (
            "issuer as a list",
            token(&ED, json!(["https://issuer"]), aud()),
            Some(TokenError::Claim(ClaimError::Malformed)),
        ),
    ] {
        assert_eq!(verifier.verify(&token, NOW).err(), expected, "{name}");
    }
}

#[test]
fn only_signed_tokens_are_told_that_they_expired() {
    let expired = hs256("wrong", &json!({"sub": "alice", "exp": 1}));
    assert_eq!(refusal(&by_secret(), &expired), TokenError::Signature);
    let expired = hs256("secret", &json!({"sub": "alice", "exp": 1}));
    let error = refusal(&by_secret(), &expired);
    assert_eq!((error.code(), error.code().as_str()), (TokenCode::Expired, "TOKEN_EXPIRED"));
}

#[test]
fn a_claim_must_not_stand_there_twice() {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let payload = r#"{"sub":"alice","sub":"root"}"#;
    let signed = format!("{}.{}", encode(r#"{"alg":"HS256"}"#), encode(payload));
    let key = jsonwebtoken::EncodingKey::from_secret(b"secret");
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, jsonwebtoken::Algorithm::HS256);
    let token = format!("{signed}.{}", signature.unwrap());
    assert_eq!(refusal(&by_secret(), &token), TokenError::Claim(ClaimError::Malformed));
}
