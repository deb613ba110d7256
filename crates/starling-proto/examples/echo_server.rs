//! A WebSocket echo server on blocking sockets, one thread per connection: the codec under Autobahn's fuzzing client.
//!
//! `cargo run -p starling-proto --example echo_server -- 127.0.0.1:9001`; port 0 takes a free one. The address it
//! listens on is the first line of its output.

mod echo;

use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};

use starling_proto::websocket::{Role, handshake};

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("{}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || {
            if let Err(error) = serve(stream) {
                eprintln!("connection ended: {error}");
            }
        });
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (head, early) = echo::read_head(&mut stream)?;
    let key = echo::header(&head, "Sec-WebSocket-Key");
    if !handshake::is_valid_key(&key) || echo::header(&head, "Sec-WebSocket-Version") != handshake::VERSION {
        return stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let agreed = handshake::negotiate(&echo::header(&head, "Sec-WebSocket-Extensions"));
    let accept = handshake::accept_key(&key);
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nServer: starling\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n"
    );
    if let Some((_, extensions)) = &agreed {
        answer += &format!("Sec-WebSocket-Extensions: {extensions}\r\n");
    }
    answer += "\r\n";
    stream.write_all(answer.as_bytes())?;
    echo::converse(&mut stream, Role::Server, agreed.map(|(deflate, _)| deflate), &early)
}
