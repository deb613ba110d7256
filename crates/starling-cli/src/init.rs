//! `starling init`: writes a commented configuration with fresh secrets.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::config::DEFAULT_FILE;
use crate::failure::Failure;

/// The file, with `{key}` and `{secret}` where fresh ones go.
const TEMPLATE: &str = include_str!("init/starling.toml");

/// Writes a commented configuration with every key, its unit and its default, and with fresh random secrets. Never overwrites.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// The file to write, readable only by its owner
    #[arg(value_name = "FILE", default_value = DEFAULT_FILE)]
    file: PathBuf,
}

/// Writes the configuration.
///
/// # Errors
///
/// A failure if the file exists or cannot be written.
pub fn run(args: InitArgs) -> Result<(), Failure> {
    let path = args.file.display();
    let text = render()?;
    // `create_new` leaves no moment between looking and writing, and does not follow a link.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&args.file);
    let mut file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(Failure::Failed(anyhow::anyhow!(
                "{path} exists already, and init never overwrites: name another file, or move it away"
            )));
        }
        Err(error) => {
            return Err(Failure::Failed(anyhow::Error::new(error).context(format!("cannot create {path}"))));
        }
    };
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(|| format!("cannot write {path}"))?;
    let config = if args.file.as_os_str() == DEFAULT_FILE { String::new() } else { format!(" --config {path}") };
    println!("wrote {path}, with fresh secrets: keep it out of version control");
    println!("next: starling serve{config}");
    Ok(())
}

/// The configuration with fresh credentials.
fn render() -> anyhow::Result<String> {
    Ok(TEMPLATE.replace("{key}", &random(12)?).replace("{secret}", &random(32)?))
}

/// `bytes` random bytes as letters, digits, `-` and `_`.
fn random(bytes: usize) -> anyhow::Result<String> {
    let mut buffer = vec![0; bytes];
    getrandom::fill(&mut buffer).context("the system gives no random numbers")?;
    Ok(URL_SAFE_NO_PAD.encode(buffer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const MINIMAL: &str = "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"s3cret-of-its-own\"\n";

    fn parse(text: &str) -> Config {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
        Config::parse("starling.toml", text, &folder, []).unwrap_or_else(|errors| panic!("{errors:#}"))
    }

    #[test]
    fn every_value_that_init_writes_is_the_default() {
        let written = parse(&render().unwrap());
        let defaults = parse(MINIMAL);
        // Written because most installations want them: metrics apart, and a first rule.
        let server = crate::config::Server { admin_listen: None, ..written.server.clone() };
        assert_eq!(written.server.admin_listen, Some(([127, 0, 0, 1], 9090).into()));
        let written = Config { server, apps: defaults.apps.clone(), channels: Vec::new(), ..written };
        assert_eq!(written, defaults);
    }

    #[test]
    fn what_init_writes_as_comments_is_valid_too() {
        // Prose is "# text"; a commented-out line is "#key = value", or "#    { … }" inside a list.
        let is_prose = |rest: &&str| rest.is_empty() || (rest.starts_with(' ') && !rest.starts_with("  "));
        let uncomment = |line: &'static str| line.strip_prefix('#').filter(|rest| !is_prose(rest)).unwrap_or(line);
        let uncommented: Vec<&str> = TEMPLATE.lines().map(uncomment).collect();
        let config = parse(&uncommented.join("\n").replace("{secret}", "a-secret").replace("{key}", "a-key"));
        assert!(
            config.tls.is_some()
                && config.hooks.is_some()
                && config.webhooks.len() == 1
                && config.apps[0].jwt.len() == 3
        );
    }

    #[test]
    fn secrets_are_fresh() {
        assert_ne!(render().unwrap(), render().unwrap());
        assert_eq!(random(32).unwrap().len(), 43);
    }
}
