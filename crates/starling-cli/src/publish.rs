//! `starling publish`: publishes through the HTTP API.

use std::io::{BufRead, Write};
use std::time::Duration;

use anyhow::{Context, anyhow};
use reqwest::{Client, StatusCode, Url};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::credentials::{CredentialArgs, Credentials};
use crate::failure::Failure;

/// The most messages in one request: what `/api/batch` takes.
const BATCH: usize = 1000;
/// The most payload in one request of several messages, in bytes: well below the 10 MiB that `/api/batch` takes.
const BATCH_BYTES: usize = 4 << 20;
/// Time for one request.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Publishes a message, or one for each line of standard input, and prints what became of each as a JSON line.
#[derive(Debug, clap::Args)]
pub struct PublishArgs {
    /// The channel
    channel: String,
    /// The message, JSON; or "-" for one message per line of standard input
    #[arg(allow_hyphen_values = true)]
    payload: String,
    /// What happened, as the receivers see it [default: message]
    #[arg(long, value_name = "EVENT")]
    event: Option<String>,
    /// The server
    #[arg(long, value_name = "URL", env = "STARLING_URL", default_value = "http://127.0.0.1:8080", value_parser = base_url)]
    url: Url,
    #[command(flatten)]
    credentials: CredentialArgs,
}

/// One message in a request.
#[derive(Serialize)]
struct Publish<'a> {
    channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    payload: &'a RawValue,
}

#[derive(Serialize)]
struct Batch<'a> {
    messages: Vec<Publish<'a>>,
}

/// The answer to both kinds of request.
#[derive(Deserialize)]
struct Published {
    results: Vec<Box<RawValue>>,
}

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

/// What is published, and through whose HTTP API.
struct Publisher {
    client: Client,
    url: Url,
    credentials: Credentials,
    channel: String,
    event: Option<String>,
}

/// Publishes what was given.
///
/// # Errors
///
/// A usage failure for a payload that is not JSON, otherwise what the server or the network said.
pub fn run(args: PublishArgs) -> Result<(), Failure> {
    let single = (args.payload != "-").then(|| parse(&args.payload)).transpose();
    let single = single.map_err(|error| {
        Failure::Usage(format!("PAYLOAD is not JSON ({error}); a text needs quotes of its own: '\"hello\"'"))
    })?;
    let publisher = Publisher::new(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(async {
        match single {
            Some(payload) => Ok(publisher.publish(&[payload]).await?),
            None => publisher.publish_lines().await,
        }
    })
}

impl Publisher {
    fn new(args: PublishArgs) -> Result<Self, Failure> {
        let credentials = Credentials::find(&args.credentials, &args.url)?;
        let client = Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("starling/", env!("CARGO_PKG_VERSION")))
            .build();
        let client = client.context("cannot set up HTTP")?;
        Ok(Self { client, url: args.url, credentials, channel: args.channel, event: args.event })
    }

    /// Publishes each line of standard input, in order. What has been read already goes into one request, so that a
    /// file is quick and a line typed by hand leaves at once.
    async fn publish_lines(&self) -> Result<(), Failure> {
        let mut input = read_lines();
        let mut lines = Vec::with_capacity(BATCH);
        let mut number = 0usize;
        while input.recv_many(&mut lines, BATCH).await > 0 {
            let mut payloads = Vec::with_capacity(lines.len());
            let mut stopped = None;
            for line in lines.drain(..) {
                number += 1;
                let line = match line {
                    Ok(line) => line,
                    Err(error) => {
                        stopped =
                            Some(Failure::Failed(anyhow::Error::new(error).context("cannot read standard input")));
                        break;
                    }
                };
                if line.trim().is_empty() {
                    continue;
                }
                match parse(&line) {
                    Ok(payload) => payloads.push(payload),
                    Err(error) => {
                        stopped = Some(Failure::Usage(format!(
                            "line {number} of standard input is not JSON ({error}); the lines before it were published"
                        )));
                        break;
                    }
                }
            }
            self.publish_batches(&payloads).await?;
            if let Some(failure) = stopped {
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Publishes in as many requests as it takes, one after the other.
    async fn publish_batches(&self, mut payloads: &[Box<RawValue>]) -> anyhow::Result<()> {
        while !payloads.is_empty() {
            let mut bytes = 0;
            let fitting = payloads.iter().take_while(|payload| {
                bytes += payload.get().len() + self.channel.len() + 64;
                bytes <= BATCH_BYTES
            });
            let (batch, rest) = payloads.split_at(fitting.count().max(1));
            self.publish(batch).await?;
            payloads = rest;
        }
        Ok(())
    }

    /// Publishes messages in one request, all or none, and prints the results.
    async fn publish(&self, payloads: &[Box<RawValue>]) -> anyhow::Result<()> {
        let message = |payload| Publish { channel: &self.channel, event: self.event.as_deref(), payload };
        let body = match payloads {
            [payload] => serde_json::to_vec(&message(payload)),
            payloads => {
                serde_json::to_vec(&Batch { messages: payloads.iter().map(|payload| message(payload)).collect() })
            }
        };
        let endpoint = if payloads.len() == 1 { "publish" } else { "batch" };
        let request =
            self.client.post(self.endpoint(endpoint)).basic_auth(&self.credentials.key, Some(&self.credentials.secret));
        let request = request.header("content-type", "application/json").body(body?);
        let answer = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = answer.status();
        let body = answer.bytes().await.context("the server's answer broke off")?;
        if !status.is_success() {
            return Err(self.refused(status, &body));
        }
        let published: Published =
            serde_json::from_slice(&body).with_context(|| format!("{} is not a Starling server", self.url))?;
        let mut output = std::io::stdout().lock();
        for result in published.results {
            writeln!(output, "{}", result.get().replace(['\n', '\r'], " "))?;
        }
        Ok(output.flush()?)
    }

    fn endpoint(&self, name: &str) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", name]);
        }
        url
    }

    fn unreachable(&self, error: reqwest::Error) -> anyhow::Error {
        // The error's own text repeats the URL; its cause is what tells.
        let mut cause: &dyn std::error::Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        anyhow!("cannot publish to {}: {cause}", self.url)
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

/// The lines of standard input, as they come. A thread reads them, because a read cannot be interrupted.
fn read_lines() -> mpsc::Receiver<std::io::Result<String>> {
    let (lines, received) = mpsc::channel(BATCH);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if lines.blocking_send(line).is_err() {
                break;
            }
        }
    });
    received
}

/// A JSON value exactly as it is written.
fn parse(text: &str) -> Result<Box<RawValue>, serde_json::Error> {
    serde_json::from_str(text)
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
