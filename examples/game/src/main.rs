//! Runs the game on 127.0.0.1:8080, or on the address in its first argument or in `LISTEN`.

use starling::Server;
use starling::auth::AppKeys;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).or_else(|| std::env::var("LISTEN").ok());
    let secret = std::env::var("SECRET").unwrap_or_else(|_| "only for this example".to_owned());
    let server = Server::builder()
        .listen(address.as_deref().unwrap_or("127.0.0.1:8080"))
        .app(AppKeys::new("1", "game", secret))
        .anonymous()
        .origins(["*"])
        .handlers(starling_example_game::handlers())
        .start()?;
    println!("listening on {}", server.addresses()[0]);
    tokio::signal::ctrl_c().await?;
    server.drain().await;
    Ok(())
}
