//! The README's example: a server inside of another program.

use starling::auth::AppKeys;
use starling::core::{Pattern, Rule, RuleSet};
use starling::{Options, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut options = Options::default();
    options.listen = vec!["127.0.0.1:8080".parse()?];
    options.live.apps = vec![AppKeys::new("1", "my-key", "a long random secret")];
    options.live.rules = RuleSet::new([Rule::new(Pattern::parse("room:*")?)]);
    let server = Server::start(options)?;
    tokio::signal::ctrl_c().await?;
    server.drain().await;
    Ok(())
}
