//! The configuration: a TOML file, variables of the environment laid over it, read into plain values.
//!
//! Every key may be set by a variable `STARLING__SECTION__KEY`. A list is written there as a TOML value
//! (`STARLING__SERVER__LISTEN='["0.0.0.0:80"]'`, `STARLING__APPS='[{ id = "1", … }]'`), and one element of a list
//! goes by its number, from 0: `STARLING__APPS__0__SECRET`. Strings, durations and words need no quotes.
//!
//! All problems are found in one run, and each names file, line, key and the accepted values. Nothing here knows
//! the server: what the values do is decided where it is built.

use std::path::{Path, PathBuf};

mod apps;
mod channels;
mod document;
mod engine;
pub mod hooks;
mod limits;
mod problem;
mod quantity;
mod section;
mod server;
#[cfg(test)]
mod tests;

pub use apps::{App, JwtAlgorithm, JwtKey, JwtSource, is_loopback};
pub use channels::{ChannelRule, Delivery, Publish, Subscribe};
pub use engine::EngineUrl;
pub use hooks::{Hooks, Webhook};
pub use limits::{Auth, AuthWhen, Backpressure, Heartbeat, Limits, Recovery};
pub use problem::ConfigErrors;
pub use quantity::parse_duration;
pub use server::{AllowedOrigins, Origins, Server, Tls, parse_listen};

use document::Origin;
use problem::Report;
use section::{Reading, Section};

/// The file that is read where none is named, in the current folder.
pub const DEFAULT_FILE: &str = "starling.toml";

/// A whole, valid configuration (section 3 of the contract).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Listeners and process-wide limits.
    pub server: Server,
    /// Certificates. Left out: plain HTTP.
    pub tls: Option<Tls>,
    /// Which browser origins may connect.
    pub origins: Origins,
    /// How connections prove who they are.
    pub auth: Auth,
    /// Pings and when silence means death.
    pub heartbeat: Heartbeat,
    /// What clients may do, and how often.
    pub limits: Limits,
    /// What may wait for a slow connection.
    pub backpressure: Backpressure,
    /// How long lost sessions are kept.
    pub recovery: Recovery,
    /// The tenants, at least one.
    pub apps: Vec<App>,
    /// Channel rules; the first that matches wins, and a channel that none matches is refused.
    pub channels: Vec<ChannelRule>,
    /// What links nodes.
    pub engine: EngineUrl,
    /// The application that decides over HTTP.
    pub hooks: Option<Hooks>,
    /// The applications that are told over HTTP.
    pub webhooks: Vec<Webhook>,
}

/// Where a configuration comes from. Kept by the server, which loads it again on `SIGHUP`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A TOML file; files named in it are relative to its folder.
    File(PathBuf),
    /// The built-in configuration of `--dev`.
    Dev,
}

impl Source {
    /// The named file, else `starling.toml` in the current folder, else `None`.
    pub fn find(named: Option<&Path>) -> Option<Self> {
        match named {
            Some(path) => Some(Self::File(path.into())),
            None => Path::new(DEFAULT_FILE).exists().then(|| Self::File(DEFAULT_FILE.into())),
        }
    }

    /// Reads the configuration and lays the environment over it.
    ///
    /// # Errors
    ///
    /// Every problem that was found.
    pub fn load(&self) -> Result<Config, ConfigErrors> {
        match self {
            Self::Dev => Config::parse("--dev", DEV, Path::new("."), environment()),
            Self::File(path) => {
                let name = path.display().to_string();
                let text = std::fs::read_to_string(path).map_err(|error| ConfigErrors::unreadable(&name, &error))?;
                // An editor on Windows may have put a byte order mark in front.
                let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
                Config::parse(&name, text, path.parent().unwrap_or(Path::new(".")), environment())
            }
        }
    }
}

impl Config {
    /// The configuration of `--dev`: loopback only, everything open, well-known credentials.
    ///
    /// Without the environment; [`Source::Dev`] lays it over.
    #[cfg(test)]
    pub fn dev() -> Self {
        match Self::parse("--dev", DEV, Path::new("."), []) {
            Ok(config) => config,
            Err(errors) => unreachable!("the text is a constant, and a test reads it: {errors}"),
        }
    }

    /// Reads a configuration from text; `name` is what messages call it, `folder` what files in it are relative to.
    ///
    /// # Errors
    ///
    /// Every problem that was found.
    pub fn parse(
        name: &str,
        text: &str,
        folder: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        let reading = Reading { report: Report::new(name, text), folder };
        let (mut root, faults) = document::parse(text);
        let broken = !faults.is_empty();
        let faults = faults.into_iter().chain(document::overlay(&mut root, variables));
        faults.for_each(|fault| reading.report.fault(fault));
        if broken {
            // What follows a syntax error was only guessed; reporting on the guess would mislead.
            return Err(reading.report.finish().expect_err("faults were reported above"));
        }
        let config = Self::read(Section::new(&reading, "", root, Origin::Absent), &reading);
        reading.report.finish().map(|()| config)
    }

    fn read(mut root: Section<'_, '_>, reading: &Reading<'_>) -> Self {
        let absent = |key: &str| Section::new(reading, key, Default::default(), Origin::Absent);
        let mut section = |key: &'static str| root.section(key).unwrap_or_else(|| absent(key));
        let server = Server::read(section("server"));
        let origins = Origins::read(section("origins"));
        let auth = Auth::read(section("auth"));
        let heartbeat = Heartbeat::read(section("heartbeat"));
        let limits = Limits::read(section("limits"));
        let backpressure = Backpressure::read(section("backpressure"));
        let recovery = Recovery::read(section("recovery"));
        let engine = EngineUrl::read(section("engine"));
        let config = Self {
            tls: root.section("tls").and_then(Tls::read),
            apps: Vec::new(),
            channels: Vec::new(),
            hooks: root.section("hooks").and_then(Hooks::read),
            webhooks: root.sections("webhooks", true).into_iter().filter_map(Webhook::read).collect(),
            server,
            origins,
            auth,
            heartbeat,
            limits,
            backpressure,
            recovery,
            engine,
        };
        let (apps, channels) = read_tenants(&mut root);
        root.finish();
        Self { apps, channels, ..config }
    }
}

/// Reads apps and the channel rules that refer to them.
fn read_tenants(root: &mut Section<'_, '_>) -> (Vec<App>, Vec<ChannelRule>) {
    let sections = root.sections("apps", false);
    if sections.is_empty() {
        root.complain("apps", "expected at least one [[apps]] with id, key and secret; `starling init` writes one");
    }
    let count = sections.len();
    // Numbered as written, because those that could not be read are left out.
    let apps: Vec<_> =
        sections.into_iter().enumerate().filter_map(|(index, section)| Some((index, App::read(section)?))).collect();
    apps::check_unique(&apps, |index, key, message| root.complain_element("apps", index, key, message));
    let apps: Vec<App> = apps.into_iter().map(|(_, app)| app).collect();
    let known: &[App] = if apps.len() == count { &apps } else { &[] };
    let rules: Vec<_> = root
        .sections("channels", false)
        .into_iter()
        .enumerate()
        .filter_map(|(index, section)| Some((index, ChannelRule::read(section, known)?)))
        .collect();
    channels::check_reachable(&rules, |index, message| root.complain_element("channels", index, "match", message));
    (apps, rules.into_iter().map(|(_, rule)| rule).collect())
}

/// The variables of this process that are text. Others cannot be part of the configuration.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// What `starling serve --dev` runs with.
const DEV: &str = r#"
[server]
listen = ["127.0.0.1:8080"]

[origins]
allow = ["*"]

[auth]
anonymous = true
query_token = true

[[apps]]
id = "1"
key = "dev-key"
secret = "dev-secret"

[[channels]]
match = "*"
subscribe = "anyone"
publish = "anyone"
presence = true
history = { size = 1000, ttl = "1h" }
"#;
