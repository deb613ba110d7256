//! Where samples come from: the server's HTTP API.

use std::time::{Duration, Instant};

use anyhow::Context;
use reqwest::Url;
use serde::Deserialize;

use super::sample::{Channel, Sample};
use crate::backend::Backend;

/// Channels that are asked for, in the order of their names; the API gives no more at a time.
const CHANNELS: &str = "1000";
/// How long the server may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a message says cannot be done.
const DEED: &str = "watch";

pub struct Source {
    backend: Backend,
    prefix: String,
}

#[derive(Deserialize)]
struct Channels {
    channels: Vec<Channel>,
    next: Option<String>,
}

impl Source {
    pub fn new(backend: Backend, prefix: String) -> Self {
        Self { backend, prefix }
    }

    pub fn url(&self) -> &Url {
        self.backend.url()
    }

    /// Asks the server how it is.
    ///
    /// # Errors
    ///
    /// When it cannot be reached, refuses, or takes more than five seconds.
    pub async fn ask(&self) -> anyhow::Result<Sample> {
        let answer = tokio::time::timeout(PATIENCE, self.ask_patiently()).await;
        answer.with_context(|| format!("{} did not answer for {} s", self.url(), PATIENCE.as_secs()))?
    }

    async fn ask_patiently(&self) -> anyhow::Result<Sample> {
        let stats = self.backend.get(DEED, "stats", &[]).await?;
        let at = Instant::now();
        let listed = self.backend.get(DEED, "channels", &[("prefix", &self.prefix), ("limit", CHANNELS)]).await?;
        let Channels { mut channels, next } = self.backend.read(&listed)?;
        channels.sort_by(|one, other| other.members.cmp(&one.members).then_with(|| one.channel.cmp(&other.channel)));
        Ok(Sample { at, stats: self.backend.read(&stats)?, channels, more: next.is_some() })
    }
}
