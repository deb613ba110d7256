//! A price feed at high frequency. Prices are keyed by their symbol and delivered as `latest`: a client that cannot keep
//! up gets the latest price of each symbol, and never an old one after it.

use serde::Serialize;
use serde_json::json;
use starling::core::{Access, Delivery};
use starling::handlers::{Answer, Channel, Handlers};
use starling::{Broadcaster, Post};

/// What is traded.
pub const SYMBOLS: [&str; 8] = ["ALFA", "BRAV", "CHAR", "DELT", "ECHO", "FOXT", "GOLF", "HOTL"];

/// The channel of the feed.
pub const CHANNEL: &str = "ticker";

/// A price.
#[derive(Serialize)]
pub struct Price {
    /// Of which symbol.
    pub symbol: &'static str,
    /// Counts the prices of the symbol.
    pub count: u64,
    /// In cents.
    pub cents: u64,
}

/// The channel: everybody may listen, nobody but the program publishes.
pub fn handlers() -> Handlers {
    let ticker: Channel = Channel::new(CHANNEL).subscribe(Access::Anyone).delivery(Delivery::Latest);
    Handlers::new().channel(ticker)
}

/// A feed that makes its prices up.
pub struct Feed {
    broadcaster: Broadcaster,
    count: u64,
}

impl Feed {
    /// A feed of a server with [`handlers`].
    pub fn new(broadcaster: Broadcaster) -> Self {
        Self { broadcaster, count: 0 }
    }

    /// Publishes the next price of each symbol.
    ///
    /// # Errors
    /// When the server has stopped.
    pub async fn tick(&mut self) -> Answer {
        self.count += 1;
        for (n, symbol) in SYMBOLS.into_iter().enumerate() {
            let price = Price { symbol, count: self.count, cents: 10_000 + (self.count * (n as u64 + 7)) % 1000 };
            self.broadcaster.send(Post::new(CHANNEL, "price", price).key(symbol)).await?;
        }
        Ok(())
    }

    /// Publishes that the feed is over for today.
    ///
    /// # Errors
    /// When the server has stopped.
    pub async fn close(&self) -> Answer {
        self.broadcaster.send(Post::new(CHANNEL, "closed", json!({"count": self.count})).key("closed")).await?;
        Ok(())
    }
}
