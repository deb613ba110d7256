//! Requests to the application's backend: signed, without redirects, with bounded answers.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use starling_core::AppId;
use thiserror::Error;

use super::{HooksError, Secrets};
use crate::shared::unix_ms;

/// Shorter than what backends keep idle connections for (Node: 5 s), so that a question is not sent on one that is just
/// being closed.
const IDLE: Duration = Duration::from_secs(4);

/// Bytes of an answer that are read only to use its connection again.
const IGNORED: usize = 64 << 10;

/// One URL, and the connections to it.
pub(super) struct Backend {
    url: Url,
    client: Client,
}

/// A request brought no complete answer.
#[derive(Debug, Error)]
pub(super) enum NoAnswer {
    #[error("{0}")]
    Unreachable(String),
    #[error("HTTP {0}")]
    Status(u16),
    #[error("an answer of more than {0} bytes")]
    TooLarge(usize),
}

impl NoAnswer {
    /// Whether nobody is there who could answer, rather than somebody who answered wrongly.
    pub fn is_dead(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Status(status) => matches!(status, 502..=504),
            Self::TooLarge(_) => false,
        }
    }
}

impl Backend {
    /// # Errors
    /// When `url` is none that requests can be sent to.
    pub fn new(url: &str, timeout: Duration, connections: usize) -> Result<Self, HooksError> {
        let parsed = Url::parse(url).map_err(|_| HooksError::Url(url.to_owned()))?;
        if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
            return Err(HooksError::Url(url.to_owned()));
        }
        let client = Client::builder()
            // A signed body is meant for this host and no other.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(timeout)
            .connect_timeout(timeout)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(connections)
            .build()
            .map_err(|error| HooksError::Client(error.to_string()))?;
        Ok(Self { url: parsed, client })
    }

    /// The address without its query and credentials, for logs.
    pub fn address(&self) -> String {
        format!("{}{}", self.url.origin().ascii_serialization(), self.url.path())
    }

    /// Sends a body. An answer with another status than 2xx is none.
    ///
    /// Cancel-safe: the request is given up; whether it arrived is not known.
    pub async fn post(&self, headers: HeaderMap, body: Bytes) -> Result<Response, NoAnswer> {
        let request = self.client.post(self.url.clone()).headers(headers).body(body);
        let response = request.send().await.map_err(unreachable)?;
        match response.status().is_success() {
            true => Ok(response),
            false => Err(NoAnswer::Status(response.status().as_u16())),
        }
    }
}

/// Reads the body of an answer with status 200, up to `limit` bytes. What is beyond is not read.
pub(super) async fn answer(mut response: Response, limit: usize) -> Result<Vec<u8>, NoAnswer> {
    if response.status() != StatusCode::OK {
        return Err(NoAnswer::Status(response.status().as_u16()));
    }
    let announced = response.content_length().unwrap_or(0);
    if announced > limit as u64 {
        return Err(NoAnswer::TooLarge(limit));
    }
    let mut body = Vec::with_capacity(announced as usize);
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > limit {
            return Err(NoAnswer::TooLarge(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Reads what nobody looks at, so that the connection can be used again. What is more than a little is not read.
pub(super) async fn ignore(mut response: Response) {
    let mut left = IGNORED;
    while let Ok(Some(chunk)) = response.chunk().await {
        match left.checked_sub(chunk.len()) {
            Some(fewer) => left = fewer,
            None => return,
        }
    }
}

/// `Starling-Timestamp` and `Starling-Signature` of a body; none when the app is not configured (any more).
pub(super) fn signed(secrets: &Secrets, app: &AppId, body: &[u8]) -> Option<HeaderMap> {
    let timestamp = (unix_ms() / 1000).to_string();
    let signature = secrets.sign(app, &[timestamp.as_bytes(), b".", body])?;
    let mut headers = json();
    let text = |text: String| HeaderValue::try_from(text).expect("digits and letters are a header's value");
    headers.insert("starling-timestamp", text(timestamp));
    headers.insert("starling-signature", text(format!("v1={signature}")));
    Some(headers)
}

/// What every request says of itself.
pub(super) fn json() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("starling/", env!("CARGO_PKG_VERSION"))));
    headers
}

/// The cause, without the URL, whose query may hold a key.
fn unreachable(error: reqwest::Error) -> NoAnswer {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    NoAnswer::Unreachable(text)
}
