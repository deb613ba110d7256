//! The README's example: a server inside of another program.

use starling::Server;
use starling::handlers::{Answer, Connection, Handlers};

async fn hello(_: Connection, name: String) -> Answer<String> {
    Ok(format!("Hello {name}"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let handlers = Handlers::new().on("hello", hello);
    let server = Server::builder().listen("127.0.0.1:8080").anonymous().handlers(handlers).start()?;
    tokio::signal::ctrl_c().await?;
    server.drain().await;
    Ok(())
}
