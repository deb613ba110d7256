//! `starling serve`: runs the server.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::{self, Config, DEFAULT_FILE, EngineUrl, Source};
use crate::failure::Failure;

/// Runs the server until SIGTERM or SIGINT, which drain it; a second signal stops at once. SIGHUP reads the configuration again.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Configuration, TOML [default: starling.toml in the current folder]
    #[arg(long, value_name = "FILE", conflicts_with = "dev")]
    config: Option<PathBuf>,
    /// Address and port to listen on instead of the configured ones; may be repeated [default: server.listen, "0.0.0.0:8080"]
    #[arg(long, value_name = "ADDR", value_parser = config::parse_listen)]
    listen: Vec<SocketAddr>,
    /// Engine instead of the configured one: memory, redis://…, rediss://…, nats://… or kafka://… [default: engine.url, memory]
    #[arg(long, value_name = "URL", value_parser = EngineUrl::parse)]
    engine: Option<EngineUrl>,
    /// Development: listens on 127.0.0.1:8080, app 1 with key dev-key and secret dev-secret, everything allowed; not for production [default: off]
    #[arg(long)]
    dev: bool,
}

impl ServeArgs {
    /// Where the configuration comes from, to load it again on SIGHUP.
    ///
    /// # Errors
    ///
    /// A usage failure if there is neither a file nor `--dev`.
    pub fn source(&self) -> Result<Source, Failure> {
        if self.dev {
            return Ok(Source::Dev);
        }
        Source::find(self.config.as_deref()).ok_or_else(|| {
            Failure::Usage(format!("no {DEFAULT_FILE} in the current folder: run `starling init` to write one, or `starling serve --dev` to try it out"))
        })
    }

    /// Loads the configuration and lays the command line's options over it.
    ///
    /// # Errors
    ///
    /// Every problem in the configuration.
    pub fn load(&self, source: &Source) -> Result<Config, Failure> {
        let mut config = source.load()?;
        if !self.listen.is_empty() {
            config.server.listen = self.listen.clone();
        }
        if let Some(engine) = &self.engine {
            config.engine = engine.clone();
        }
        Ok(config)
    }
}

/// Runs the server until it is told to stop.
///
/// # Errors
///
/// A usage failure for a configuration that cannot work, otherwise what made the server stop.
pub fn run(args: ServeArgs) -> Result<(), Failure> {
    let source = args.source()?;
    args.load(&source)?;
    Err(Failure::Failed(anyhow::anyhow!("serve is not wired yet")))
}
