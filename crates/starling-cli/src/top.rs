//! `starling top`: what goes on in a server, on a terminal or as text.

#[cfg(feature = "tui")]
mod live;
#[cfg(not(feature = "tui"))]
#[path = "top/live_off.rs"]
mod live;
mod sample;
mod source;
mod text;

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Context;
use reqwest::Url;

use crate::backend::{Backend, base_url};
use crate::credentials::CredentialArgs;
use crate::failure::Failure;
use sample::View;
use source::Source;

/// How often the server is asked, and over what time a snapshot's rates are taken.
const PERIOD: Duration = Duration::from_secs(1);

/// Shows connections, channels, rates and slow consumers, once a second until q or Ctrl-C is pressed.
///
/// Without a terminal it prints one snapshot as text, with the rates of one second.
#[derive(Debug, clap::Args)]
pub struct TopArgs {
    /// The server
    #[arg(long, value_name = "URL", env = "STARLING_URL", default_value = "http://127.0.0.1:8080", value_parser = base_url)]
    url: Url,
    /// Only channels whose names begin with this; the numbers stay those of the whole app [default: all]
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    prefix: String,
    /// The most channels in a snapshot, largest first
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(0..=1000))]
    limit: u16,
    /// Print one snapshot, also on a terminal
    #[arg(long)]
    once: bool,
    /// Print one snapshot as a JSON object, with units in the names of the numbers
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    credentials: CredentialArgs,
}

/// Shows the view, or prints a snapshot.
///
/// # Errors
///
/// Without credentials; and for a snapshot, what the server or the network said.
pub fn run(args: TopArgs) -> Result<(), Failure> {
    let source = Source::new(Backend::new(&args.credentials, args.url)?, args.prefix);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let snapshot = args.once || args.json || !std::io::stdout().is_terminal() || !live::IS_THERE;
    if !snapshot {
        return Ok(runtime.block_on(live::run(source))?);
    }
    let view = runtime.block_on(async {
        let first = source.ask().await?;
        tokio::time::sleep(PERIOD).await;
        let second = source.ask().await?;
        anyhow::Ok(View::new(Some(&first), second))
    })?;
    match args.json {
        true => println!("{}", text::json(source.url(), &view, args.limit.into())),
        false => print!("{}", text::text(source.url(), &view, args.limit.into())),
    }
    Ok(())
}
