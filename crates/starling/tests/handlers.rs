//! Rust handlers, as clients see them.

#[path = "handlers/bounds.rs"]
mod bounds;
#[path = "handlers/channels.rs"]
mod channels;
#[path = "handlers/client.rs"]
mod client;
#[path = "handlers/connections.rs"]
mod connections;
#[path = "handlers/socketio.rs"]
mod socketio;
