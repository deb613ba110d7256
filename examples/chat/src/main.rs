//! Runs the chat on 127.0.0.1:8080, or on the address in its first argument.

use starling::Server;
use starling::auth::{Algorithm, AppKeys, NewToken, mint};

/// Signs the tokens. A real one is random, and comes from the configuration.
const SECRET: &str = "only for this example";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let server = Server::builder()
        .listen(address)
        .app(AppKeys::new("1", "chat", SECRET))
        .origins(["*"])
        .handlers(starling_example_chat::handlers())
        .start()?;
    println!("ws://{}/ws", server.addresses()[0]);
    for user in ["ann", "bob", "eve"] {
        // Your login does this, for whoever gave the right password.
        let token = mint(Algorithm::Hs256, SECRET.as_bytes(), &NewToken { user, ..NewToken::default() })?;
        println!("{user}: {token}");
    }
    tokio::signal::ctrl_c().await?;
    server.drain().await;
    Ok(())
}
