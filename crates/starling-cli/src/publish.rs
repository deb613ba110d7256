//! `starling publish`: publishes through the HTTP API.

use std::io::{BufRead, Write};

use anyhow::Context;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::backend::{Backend, base_url};
use crate::credentials::CredentialArgs;
use crate::failure::Failure;

/// The most messages in one request: what `/api/batch` takes.
const BATCH: usize = 1000;
/// The most payload in one request of several messages, in bytes: well below the 10 MiB that `/api/batch` takes.
const BATCH_BYTES: usize = 4 << 20;

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

/// What is published, and through whose HTTP API.
struct Publisher {
    backend: Backend,
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
        let backend = Backend::new(&args.credentials, args.url)?;
        Ok(Self { backend, channel: args.channel, event: args.event })
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
        let body = self.backend.post("publish to", endpoint, body?).await?;
        let published: Published = self.backend.read(&body)?;
        let mut output = std::io::stdout().lock();
        for result in published.results {
            writeln!(output, "{}", result.get().replace(['\n', '\r'], " "))?;
        }
        Ok(output.flush()?)
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
