//! `starling check`: validates a configuration without running it.

use std::path::PathBuf;

use crate::config::{DEFAULT_FILE, Source};
use crate::failure::Failure;
use crate::settings;

/// Validates a configuration: every error names file, line, key and the accepted values. Exit code 0 or 2.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Configuration, TOML; variables STARLING__SECTION__KEY are laid over it [default: starling.toml in the current folder]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Validates the configuration and says what is in it.
///
/// # Errors
///
/// Every problem in the configuration.
pub fn run(args: CheckArgs) -> Result<(), Failure> {
    let path = args.config.unwrap_or_else(|| DEFAULT_FILE.into());
    let config = Source::File(path.clone()).load()?;
    // What `serve` would make of it, which may find more in the files that it names.
    settings::live(&config).map_err(|error| Failure::Usage(format!("{}: {error:#}", path.display())))?;
    let plural = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    println!(
        "{}: valid: {}, {}, engine {}",
        path.display(),
        plural(config.apps.len(), "app"),
        plural(config.channels.len(), "channel rule"),
        config.engine.name(),
    );
    Ok(())
}
