//! Runs the canvas on 127.0.0.1:8080, or on the address in its first argument.

use starling::Server;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let handlers = starling_example_binary::handlers();
    let server = Server::builder().listen(address).anonymous().origins(["*"]).handlers(handlers).start()?;
    println!("ws://{}/ws", server.addresses()[0]);
    tokio::signal::ctrl_c().await?;
    server.drain().await;
    Ok(())
}
