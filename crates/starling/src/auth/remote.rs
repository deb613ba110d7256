//! The keys behind a JWKS URL: fetched in the background, kept while the URL is unreachable, and fetched again
//! when a token names a key that is not among them.

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use reqwest::{Client, Url, redirect};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

use super::jwks::{self, JwksError, MAX_JWKS_BYTES};
use super::keys::KeySet;

/// How long the keys are used before they are fetched again.
pub const JWKS_REFRESH: Duration = Duration::from_secs(300);

/// The shortest time between two fetches of one URL, whatever tokens arrive. Also the first wait after a
/// failure, which then doubles up to [`JWKS_REFRESH`].
pub const JWKS_MIN_INTERVAL: Duration = Duration::from_secs(10);

/// How long a fetch may take as a whole.
pub const JWKS_TIMEOUT: Duration = Duration::from_secs(5);

/// A JWKS URL that can never be fetched.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UrlError {
    /// Not an absolute URL.
    #[error("not an absolute URL")]
    Malformed,
    /// Another scheme than `https`; `http` is for 127.0.0.0/8, `[::1]` and `localhost` only.
    #[error("must begin with https:// (http:// is for loopback hosts only)")]
    NotHttps,
    /// User name or password in the URL, which would end up in logs.
    #[error("must not contain a user name or password")]
    Credentials,
    /// The HTTP client could not be made.
    #[error("no HTTP client: {0}")]
    Client(String),
}

/// Why a fetch brought no keys.
#[derive(Debug, Error)]
enum FetchError {
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    #[error("HTTP status {0}")]
    Status(u16),
    #[error("{0}")]
    Document(#[from] JwksError),
}

/// The keys of one URL, shared by all apps that name it.
pub(super) struct RemoteKeys {
    url: Url,
    /// As configured.
    text: String,
    client: Client,
    keys: ArcSwapOption<KeySet>,
    /// When the last fetch began. Held during a fetch, so that others wait for it instead of starting theirs.
    last_fetch: Mutex<Option<Instant>>,
    watch: OnceLock<AbortHandle>,
}

impl Drop for RemoteKeys {
    fn drop(&mut self) {
        if let Some(task) = self.watch.get() {
            task.abort();
        }
    }
}

/// Shows the URL without its query, which may hold an API key.
impl fmt::Display for RemoteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = &self.url;
        write!(f, "{}{}", url.origin().ascii_serialization(), url.path())
    }
}

impl RemoteKeys {
    pub(super) fn new(text: &str) -> Result<Self, UrlError> {
        let url = Url::parse(text).map_err(|_| UrlError::Malformed)?;
        let loopback = is_loopback(&url);
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            _ => return Err(UrlError::NotHttps),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlError::Credentials);
        }
        let mut client = Client::builder()
            // A redirect could lead from the trusted host to any other.
            .redirect(redirect::Policy::none())
            .timeout(JWKS_TIMEOUT)
            .https_only(url.scheme() == "https")
            .pool_max_idle_per_host(0);
        if loopback {
            client = client.no_proxy();
        }
        let client = client.build().map_err(|error| UrlError::Client(error.to_string()))?;
        Ok(Self {
            url,
            text: text.to_owned(),
            client,
            keys: ArcSwapOption::empty(),
            last_fetch: Mutex::new(None),
            watch: OnceLock::new(),
        })
    }

    /// The URL as configured.
    pub(super) fn url(&self) -> &str {
        &self.text
    }

    /// The keys fetched last; `None` before the first success.
    pub(super) fn keys(&self) -> Option<Arc<KeySet>> {
        self.keys.load_full()
    }

    /// Starts the task that keeps the keys fresh, once.
    pub(super) fn watch(self: &Arc<Self>, runtime: &Handle) {
        self.watch.get_or_init(|| {
            let keys = Arc::downgrade(self);
            runtime.spawn(keep_fresh(keys)).abort_handle()
        });
    }

    /// Fetches the keys, unless that was tried less than [`JWKS_MIN_INTERVAL`] before `now`; waits for a fetch that
    /// is under way. Tells whether the URL answered with keys, or did so the last time.
    ///
    /// Cancel-safe: a cancelled fetch counts as a try.
    pub(super) async fn refresh(&self, now: Instant) -> bool {
        let mut last_fetch = self.last_fetch.lock().await;
        if last_fetch.is_some_and(|last| now.saturating_duration_since(last) < JWKS_MIN_INTERVAL) {
            return self.keys.load().is_some();
        }
        *last_fetch = Some(now);
        match self.fetch().await {
            Ok(keys) => {
                self.keys.store(Some(Arc::new(keys)));
                true
            }
            Err(error) => {
                let kept = self.keys.load().is_some();
                tracing::warn!(url = %self, %error, kept, "JWKS could not be fetched");
                false
            }
        }
    }

    async fn fetch(&self) -> Result<KeySet, FetchError> {
        let mut response = self
            .client
            .get(self.url.clone())
            .header("accept", "application/json")
            .send()
            .await
            .map_err(reqwest::Error::without_url)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let mut document = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
            if document.len() + chunk.len() > MAX_JWKS_BYTES {
                return Err(JwksError::TooLarge.into());
            }
            document.extend_from_slice(&chunk);
        }
        Ok(jwks::parse(&document)?)
    }
}

/// Refreshes the keys until nobody uses them any more.
async fn keep_fresh(keys: Weak<RemoteKeys>) {
    let mut after_failure = JWKS_MIN_INTERVAL;
    while let Some(keys) = keys.upgrade() {
        let wait = match keys.refresh(Instant::now()).await {
            true => {
                after_failure = JWKS_MIN_INTERVAL;
                JWKS_REFRESH
            }
            false => {
                let wait = after_failure;
                after_failure = (wait * 2).min(JWKS_REFRESH);
                wait
            }
        };
        // Not held while asleep, so that the task ends with the last verifier.
        drop(keys);
        tokio::time::sleep(wait).await;
    }
}

/// Whether nobody but this machine can answer for the URL.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
