//! Which app a command acts for, and the key and secret that it shows to the server.

use std::path::{Path, PathBuf};

use reqwest::Url;

use crate::config::{App, DEFAULT_FILE, Source, is_loopback};
use crate::failure::Failure;

/// One app of a configuration.
#[derive(Debug)]
pub struct AppChoice {
    /// The chosen app.
    pub app: App,
    /// Whether the configuration has others.
    pub several: bool,
}

impl AppChoice {
    /// The app `id` of the configuration, or its only one. `hint` says what to do where there is no file.
    ///
    /// # Errors
    ///
    /// Every problem in the configuration, or a usage failure: no file, no such app, or several to choose from.
    pub fn from_config(path: Option<&Path>, id: Option<&str>, hint: &str) -> Result<Self, Failure> {
        let source = Source::find(path)
            .ok_or_else(|| Failure::Usage(format!("no {DEFAULT_FILE} in the current folder: {hint}")))?;
        let mut apps = source.load()?.apps;
        let several = apps.len() > 1;
        let ids = apps.iter().map(|app| app.id.as_str()).collect::<Vec<_>>().join(", ");
        let index = match id {
            Some(id) => apps
                .iter()
                .position(|app| app.id == id)
                .ok_or_else(|| format!("no app {id}, the configuration has: {ids}")),
            None if several => Err(format!("the configuration has several apps: choose one with --app: {ids}")),
            None => Ok(0),
        };
        let app = apps.swap_remove(index.map_err(Failure::Usage)?);
        Ok(Self { app, several })
    }
}

/// The options that say who calls the HTTP API.
#[derive(Debug, clap::Args)]
pub struct CredentialArgs {
    /// The app's key [env: STARLING_KEY] [default: from the configuration; without one, dev-key where the server is on this machine]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// The app's secret [env: STARLING_SECRET] [default: from the configuration; without one, dev-secret where the server is on this machine]
    #[arg(long, value_name = "SECRET")]
    secret: Option<String>,
    /// Configuration that has key and secret [default: starling.toml in the current folder, if there is one]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "secret"])]
    config: Option<PathBuf>,
    /// The app's id; needed where the configuration has several [default: the only app]
    #[arg(long, value_name = "ID")]
    app: Option<String>,
}

impl CredentialArgs {
    /// Whether the command line names an app, and not only the environment or a file that happens to be there.
    pub fn are_given(&self) -> bool {
        self.key.is_some() || self.config.is_some()
    }

    /// Whether the command line says which app it is about.
    pub fn names_an_app(&self) -> bool {
        self.app.is_some()
    }
}

/// Key and secret of an app.
pub struct Credentials {
    /// The app's id: that of the command line or the configuration, else 1, which is what `--dev` has.
    pub id: String,
    /// The public half.
    pub key: String,
    /// The other half.
    pub secret: String,
    /// Where they come from, for the case that they are refused.
    pub origin: String,
}

impl Credentials {
    /// Those of the command line or the environment, else of the configuration, else of `--dev` for a server on this
    /// machine.
    ///
    /// # Errors
    ///
    /// A usage failure where there are none, or a configuration that cannot be read.
    pub fn find(args: &CredentialArgs, url: &Url) -> Result<Self, Failure> {
        // A configuration that is named wins over the environment, which is there for all commands.
        let unless_named = |option: &Option<String>, name| match (option, &args.config) {
            (None, None) => variable(name),
            (option, _) => option.clone(),
        };
        match (unless_named(&args.key, "STARLING_KEY"), unless_named(&args.secret, "STARLING_SECRET")) {
            (Some(key), Some(secret)) => {
                return Ok(Self::new(args.app.as_deref(), &key, &secret, "--key and --secret, or their variables"));
            }
            (Some(_), None) => return Err(Failure::Usage("--key needs --secret beside it".into())),
            (None, Some(_)) => return Err(Failure::Usage("--secret needs --key beside it".into())),
            (None, None) => {}
        }
        if args.config.is_some() || Source::find(None).is_some() {
            let AppChoice { app, .. } = AppChoice::from_config(args.config.as_deref(), args.app.as_deref(), "")?;
            let file = args.config.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
            return Ok(Self::new(Some(&app.id), &app.key, app.secret.expose(), &file.display().to_string()));
        }
        if is_loopback(url) {
            return Ok(Self::new(None, "dev-key", "dev-secret", "--dev"));
        }
        let message = format!("no credentials for {url}: give --key and --secret, or a configuration with --config");
        Err(Failure::Usage(message))
    }

    fn new(id: Option<&str>, key: &str, secret: &str, origin: &str) -> Self {
        Self { id: id.unwrap_or("1").into(), key: key.into(), secret: secret.into(), origin: origin.into() }
    }
}

/// A variable of the environment, unless it is empty.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
