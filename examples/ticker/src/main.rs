//! Runs the feed on 127.0.0.1:8080, or on the address in its first argument: 100 times a second a price of each symbol.

use std::time::Duration;

use starling::Server;
use starling_example_ticker::{Feed, handlers};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let server = Server::builder().listen(address).anonymous().origins(["*"]).handlers(handlers()).start()?;
    println!("http://{}/sse?channel=ticker", server.addresses()[0]);
    let mut feed = Feed::new(server.broadcaster());
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        tokio::select! {
            _ = ticks.tick() => feed.tick().await.map_err(|refusal| refusal.to_string())?,
            stopped = &mut stop => {
                stopped?;
                server.drain().await;
                return Ok(());
            }
        }
    }
}
