//! The HTTP API of a server, as commands call it: address, credentials, and what goes wrong in words.

use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde::Deserialize;

use crate::credentials::{CredentialArgs, Credentials};
use crate::failure::Failure;

/// Time for one request.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The body of a refusal.
#[derive(Deserialize)]
struct Refused {
    error: Reason,
}

#[derive(Deserialize)]
struct Reason {
    code: String,
    message: String,
}

/// A server's `/api`, and the app that calls it.
pub struct Backend {
    client: Client,
    url: Url,
    credentials: Credentials,
}

impl Backend {
    /// The API at `url`, called with the credentials that `args` lead to.
    ///
    /// # Errors
    ///
    /// Those of [`Credentials::find`].
    pub fn new(args: &CredentialArgs, url: Url) -> Result<Self, Failure> {
        let credentials = Credentials::find(args, &url)?;
        let client = Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("starling/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { client: client.context("cannot set up HTTP")?, url, credentials })
    }

    /// The server's address.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The answer to a `POST` of JSON. `deed` is what a message says cannot be done: `publish to`.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached, or refuses.
    pub async fn post(&self, deed: &str, name: &str, body: Vec<u8>) -> anyhow::Result<Bytes> {
        let request = self.client.post(self.endpoint(name)).header("content-type", "application/json").body(body);
        self.send(deed, request).await
    }

    /// The answer to a `GET`; `deed` as in [`post`](Self::post).
    ///
    /// # Errors
    ///
    /// When the server cannot be reached, or refuses.
    pub async fn get(&self, deed: &str, name: &str, query: &[(&str, &str)]) -> anyhow::Result<Bytes> {
        let mut url = self.endpoint(name);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(deed, self.client.get(url)).await
    }

    /// An answer as what it should be.
    ///
    /// # Errors
    ///
    /// When it is something else.
    pub fn read<'a, T: Deserialize<'a>>(&self, body: &'a [u8]) -> anyhow::Result<T> {
        serde_json::from_slice(body).with_context(|| format!("{} is not a Starling server", self.url))
    }

    async fn send(&self, deed: &str, request: RequestBuilder) -> anyhow::Result<Bytes> {
        let request = request.basic_auth(&self.credentials.key, Some(&self.credentials.secret));
        let answer = request.send().await.map_err(|error| self.unreachable(deed, error))?;
        let status = answer.status();
        let body = answer.bytes().await.context("the server's answer broke off")?;
        if status.is_success() { Ok(body) } else { Err(self.refused(status, &body)) }
    }

    fn endpoint(&self, name: &str) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", name]);
        }
        url
    }

    fn unreachable(&self, deed: &str, error: reqwest::Error) -> anyhow::Error {
        // The error's own text repeats the URL; its cause is what tells.
        let mut cause: &dyn std::error::Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        anyhow!("cannot {deed} {}: {cause}", self.url)
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> anyhow::Error {
        let reason = match serde_json::from_slice::<Refused>(body) {
            Ok(Refused { error }) => format!("{}: {}", error.code, error.message),
            Err(_) => format!("HTTP {status}"),
        };
        match status {
            StatusCode::UNAUTHORIZED => {
                anyhow!("{} refused the credentials from {} ({reason})", self.url, self.credentials.origin)
            }
            _ => anyhow!("{} refused it: {reason}", self.url),
        }
    }
}

/// The address of a server, also where it was given as that of its WebSocket.
pub fn base_url(text: &str) -> Result<Url, String> {
    const EXPECTED: &str = "expected a URL such as http://127.0.0.1:8080 or https://example.com";
    let mut url = Url::parse(text).map_err(|_| EXPECTED.to_owned())?;
    let scheme = match url.scheme() {
        "http" | "ws" => "http",
        "https" | "wss" => "https",
        _ => return Err(EXPECTED.into()),
    };
    if !url.has_host() || url.set_scheme(scheme).is_err() {
        return Err(EXPECTED.into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("credentials do not belong into the URL".into());
    }
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/ws").unwrap_or(path).to_owned();
    url.set_path(&path);
    Ok(url)
}
