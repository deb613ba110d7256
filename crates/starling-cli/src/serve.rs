//! `starling serve`: runs the server.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use starling::{Server, StartError};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{self, Config, DEFAULT_FILE, EngineUrl, Source};
use crate::engines;
use crate::failure::Failure;
use crate::settings;

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
    let config = args.load(&source)?;
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("starling-http")
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve(&args, &source, config))
}

async fn serve(args: &ServeArgs, source: &Source, config: Config) -> Result<(), Failure> {
    let mut options = settings::options(&config, args.dev)?;
    options.engine = engines::connect(&config.engine, config.recovery.window).await.map_err(Failure::Usage)?;
    // Before the server listens, so that a signal that comes at once is not lost.
    let mut signals = Signals::new().context("cannot listen to signals")?;
    let server = Server::start(options).map_err(|error| match error {
        StartError::Listen { .. } | StartError::Worker(_) => Failure::Failed(error.into()),
        _ => Failure::Usage(error.to_string()),
    })?;
    announce(&server, &config, args.dev);
    let mut running = config;
    loop {
        tokio::select! {
            _ = signals.reload.recv() => running = reload(args, source, &server, running),
            _ = signals.interrupt.recv() => break,
            _ = signals.terminate.recv() => break,
        }
    }
    tracing::info!(grace = ?running.server.shutdown_grace, "draining; a second signal stops at once");
    tokio::select! {
        () = server.drain() => tracing::info!("drained"),
        _ = signals.interrupt.recv() => tracing::warn!("stopped before the drain was over"),
        _ = signals.terminate.recv() => tracing::warn!("stopped before the drain was over"),
    }
    Ok(())
}

struct Signals {
    reload: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            reload: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }
}

/// Reads the configuration again. What is wrong with it is logged, and the old one stays.
fn reload(args: &ServeArgs, source: &Source, server: &Server, running: Config) -> Config {
    let config = match args.load(source) {
        Ok(config) => config,
        Err(failure) => {
            tracing::error!("the configuration was not reloaded: {failure}");
            return running;
        }
    };
    let reloaded = settings::live(&config).and_then(|live| Ok(server.reload(live)?));
    if let Err(error) = reloaded {
        tracing::error!("the configuration was not reloaded: {error:#}");
        return running;
    }
    for key in needs_restart(&running, &config) {
        tracing::warn!(key, "changed, and needs a restart");
    }
    tracing::info!("configuration reloaded");
    config
}

/// Keys that were changed and are only read at the start.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let changed = [
        ("server.listen", old.server.listen != new.server.listen),
        ("server.admin_listen", old.server.admin_listen != new.server.admin_listen),
        ("server.workers", old.server.workers != new.server.workers),
        ("recovery.window", old.recovery.window != new.recovery.window),
        ("engine.url", old.engine != new.engine),
        ("hooks", old.hooks != new.hooks),
        ("webhooks", old.webhooks != new.webhooks),
    ];
    changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
}

/// Each connection is a descriptor; the soft limit is often a thousand.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if setrlimit(Resource::Nofile, raised).is_err() {
        tracing::warn!(limit = limit.current, "the limit of open descriptors could not be raised");
    }
}

fn announce(server: &Server, config: &Config, dev: bool) {
    for address in server.addresses() {
        tracing::info!(%address, tls = config.tls.is_some(), "listening");
    }
    if let Some(address) = server.admin_address() {
        tracing::info!(%address, "metrics");
    }
    if dev {
        tracing::warn!("--dev: everyone may do everything, with well-known credentials. Not for production");
        println!("{}", dev_banner(server.addresses()));
    }
}

fn dev_banner(addresses: &[SocketAddr]) -> String {
    let host = addresses.first().map(ToString::to_string).unwrap_or_default();
    format!(
        "\n  \
         NOT FOR PRODUCTION: --dev lets everyone do everything.\n\n  \
         demo page     http://{host}/\n  \
         WebSocket     ws://{host}/ws\n  \
         publish       curl -u dev-key:dev-secret -d '{{\"channel\":\"lobby\",\"payload\":\"hello\"}}' http://{host}/api/publish\n  \
         subscribe     starling subscribe lobby --url http://{host}\n  \
         metrics       http://{host}/metrics\n  \
         app 1         key dev-key, secret dev-secret\n"
    )
}
