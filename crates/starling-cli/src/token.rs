//! `starling token`: signs a user's JSON Web Token.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::config::{self, App, JwtAlgorithm, JwtKey, JwtSource};
use crate::credentials::{AppChoice, variable};
use crate::failure::Failure;

/// Prints a JWT for a user, signed with an app's secret.
#[derive(Debug, clap::Args)]
pub struct TokenArgs {
    /// The user's id: the claim sub
    #[arg(long, value_name = "ID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    user: String,
    /// How long the token is valid, 1s to ten years: 10s, 2m, 1h, 7d
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = ttl)]
    ttl: Duration,
    /// Pattern of channels that the user may subscribe to under "granted" rules; may be repeated [default: none]
    #[arg(long, value_name = "PATTERN")]
    subscribe: Vec<String>,
    /// Pattern of channels that the user may publish to under "granted" rules; may be repeated [default: none]
    #[arg(long, value_name = "PATTERN")]
    publish: Vec<String>,
    /// What presence shows of the user, a JSON object [default: none]
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    info: Option<Box<RawValue>>,
    /// The app's id; needed where the configuration has several [default: the only app]
    #[arg(long, value_name = "ID")]
    app: Option<String>,
    /// Configuration that has the secret [default: starling.toml in the current folder]
    #[arg(long, value_name = "FILE", conflicts_with = "secret")]
    config: Option<PathBuf>,
    /// The app's secret, instead of a configuration [env: STARLING_SECRET] [default: none]
    #[arg(long, value_name = "SECRET", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    secret: Option<String>,
}

/// The claims of section 3 of the contract.
#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    subscribe: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    publish: &'a [String],
}

/// What signs the token.
struct Signer {
    algorithm: Algorithm,
    secret: String,
    /// The `app` claim, where there are several.
    app: Option<String>,
    issuer: Option<String>,
    audience: Option<String>,
}

/// Prints the token.
///
/// # Errors
///
/// A usage or configuration failure if there is no secret that signs tokens.
pub fn run(args: TokenArgs) -> Result<(), Failure> {
    let signer = Signer::choose(&args)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let claims = Claims {
        sub: &args.user,
        iat: now.as_secs(),
        exp: (now + args.ttl).as_secs(),
        iss: signer.issuer.as_deref(),
        aud: signer.audience.as_deref(),
        app: signer.app.as_deref(),
        info: args.info.as_deref(),
        subscribe: &args.subscribe,
        publish: &args.publish,
    };
    let key = EncodingKey::from_secret(signer.secret.as_bytes());
    println!(
        "{}",
        jsonwebtoken::encode(&Header::new(signer.algorithm), &claims, &key).context("cannot sign the token")?
    );
    Ok(())
}

impl Signer {
    fn choose(args: &TokenArgs) -> Result<Self, Failure> {
        let secret =
            args.secret.clone().or_else(|| if args.config.is_none() { variable("STARLING_SECRET") } else { None });
        if let Some(secret) = secret {
            let app = args.app.clone();
            return Ok(Self { algorithm: Algorithm::HS256, secret, app, issuer: None, audience: None });
        }
        let hint = "name a file with --config, or give the app's secret with --secret";
        let AppChoice { app, several } = AppChoice::from_config(args.config.as_deref(), args.app.as_deref(), hint)?;
        let claim = several.then(|| app.id.clone());
        if app.jwt.is_empty() {
            return Ok(Self {
                algorithm: Algorithm::HS256,
                secret: app.secret.expose().into(),
                app: claim,
                issuer: None,
                audience: None,
            });
        }
        Self::from_jwt(&app, claim)
    }

    /// Where `jwt` is set, only its keys are believed; one of them may be a secret.
    fn from_jwt(app: &App, claim: Option<String>) -> Result<Self, Failure> {
        let secret = |key: &JwtKey| match &key.source {
            JwtSource::Secret { algorithm, secret } => Some((*algorithm, secret.expose().to_owned())),
            _ => None,
        };
        let signer = app.jwt.iter().find_map(|key| secret(key).map(|(algorithm, secret)| (key, algorithm, secret)));
        let Some((key, algorithm, secret)) = signer else {
            let message = format!(
                "app {} takes only tokens signed by the keys of its `jwt`, whose private halves are elsewhere",
                app.id
            );
            return Err(Failure::Usage(message));
        };
        let algorithm = match algorithm {
            JwtAlgorithm::Hs384 => Algorithm::HS384,
            JwtAlgorithm::Hs512 => Algorithm::HS512,
            _ => Algorithm::HS256,
        };
        Ok(Self { algorithm, secret, app: claim, issuer: key.issuer.clone(), audience: key.audience.first().cloned() })
    }
}

fn ttl(text: &str) -> Result<Duration, String> {
    let year = Duration::from_secs(366 * 86_400);
    config::parse_duration(text)
        .filter(|ttl| (Duration::from_secs(1)..=10 * year).contains(ttl))
        .ok_or_else(|| "expected a duration of 1s to ten years, such as 10s, 2m, 1h or 7d".into())
}

fn json_object(text: &str) -> Result<Box<RawValue>, String> {
    let value = RawValue::from_string(text.trim().to_owned()).map_err(|error| format!("not JSON: {error}"))?;
    if value.get().starts_with('{') {
        Ok(value)
    } else {
        Err(r#"expected a JSON object, such as '{"name":"Ada"}'"#.into())
    }
}
