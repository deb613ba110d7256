//! A server with the handlers that public test suites ask for.
//!
//! `socketio-suite [ADDRESS] [protocol|client] [INTERVAL TIMEOUT]`: the address is 127.0.0.1:3000 unless it is said;
//! `protocol` (the default) is for the suites of the protocols, Engine.IO 4 at `/engine.io/` and Socket.IO 5 at
//! `/socket.io/`, and `client` for the tests of `socket.io-client`, which expect port 3210. The suites of the protocols want
//! a heartbeat every 300 ms, answered within 200 ms; other tests may want it slower, in milliseconds.

mod client;
mod protocol;

use starling::auth::{AppKeys, Origins};
use starling::core::{ChannelName, Emission, Payload};
use starling::{Options, Server};

/// An event of a namespace (none: the main one).
fn emission(scope: Option<&ChannelName>, event: &str, payload: Payload) -> Emission {
    Emission { channel: scope.cloned(), event: event.into(), payload, ack: None }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let suite = arguments.next().unwrap_or_else(|| "protocol".to_owned());
    let heartbeat = match (arguments.next(), arguments.next()) {
        (Some(interval), Some(timeout)) => Some((interval.parse()?, timeout.parse()?)),
        _ => None,
    };
    let mut options = Options::default();
    options.listen = vec![address.parse()?];
    // The suites send tokens that are none.
    options.opaque_tokens = true;
    options.live.apps = vec![AppKeys::new("1", "suite", "a secret that nobody uses")];
    options.live.origins = Origins::any();
    options.live.auth.anonymous = true;
    options.live.max_payload = 1_000_000;
    let server = match suite.as_str() {
        "protocol" => {
            protocol::configure(&mut options, heartbeat);
            Server::start(options)?
        }
        "client" => {
            let client = client::configure(&mut options);
            let server = Server::start(options)?;
            client.attach(server.broadcaster());
            server
        }
        other => return Err(format!("{other}: neither `protocol` nor `client`").into()),
    };
    println!("listening on {}", server.addresses()[0]);
    tokio::signal::ctrl_c().await?;
    server.stop().await;
    Ok(())
}
