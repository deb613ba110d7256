//! A WebSocket client that sends every message back: the codec under Autobahn's fuzzing server.
//!
//! `cargo run -p starling-proto --example autobahn_client -- 127.0.0.1:9002 4` runs all cases of the server at that
//! address, four at a time (default: one), and tells it to write its report.

mod echo;

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

use starling_proto::websocket::handshake::{self, Offer};
use starling_proto::websocket::{Decoder, Deflate, Event, Inflater, Role};

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:9002".to_owned());
    let parallel: usize = args.next().and_then(|n| n.parse().ok()).unwrap_or(1);
    let count = case_count(&address)?;
    let next = AtomicUsize::new(1);
    std::thread::scope(|scope| {
        for _ in 0..parallel {
            scope.spawn(|| {
                loop {
                    let case = next.fetch_add(1, Ordering::Relaxed);
                    if case > count {
                        break;
                    }
                    if let Err(error) = run(&address, &format!("/runCase?case={case}&agent=starling")) {
                        eprintln!("case {case}: {error}");
                    }
                }
            });
        }
    });
    run(&address, "/updateReports?agent=starling")
}

fn run(address: &str, path: &str) -> io::Result<()> {
    let (mut stream, deflate, early) = connect(address, path)?;
    echo::converse(&mut stream, Role::Client, deflate, &early)
}

/// The server says the number of its cases in one text message.
fn case_count(address: &str) -> io::Result<usize> {
    let (mut stream, deflate, mut bytes) = connect(address, "/getCaseCount")?;
    let mut decoder = Decoder::new(Role::Client, 1024, deflate);
    let mut inflater = Inflater::new();
    let mut count = None;
    let mut buffer = [0; 1024];
    while count.is_none() {
        let fed = decoder.feed(&mut bytes, &mut inflater, &mut |event| {
            if let Event::Text(text) = event {
                count = text.parse().ok();
            }
            ControlFlow::Continue(())
        });
        fed.map_err(io::Error::other)?;
        if count.is_none() {
            let n = stream.read(&mut buffer)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes = buffer[..n].to_vec();
        }
    }
    stream.shutdown(Shutdown::Both)?;
    count.ok_or_else(|| io::Error::other("the server gave no number of cases"))
}

fn connect(address: &str, path: &str) -> io::Result<(TcpStream, Option<Deflate>, Vec<u8>)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let offer = Offer { client_no_context_takeover: true, ..Offer::default() };
    // Any key does against a test server on the same machine; a real client draws it at random.
    let key = handshake::key(*b"starling echoes.");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: {}\r\nSec-WebSocket-Extensions: {offer}\r\n\r\n",
        handshake::VERSION
    );
    stream.write_all(request.as_bytes())?;
    let (head, early) = echo::read_head(&mut stream)?;
    if !head.starts_with("HTTP/1.1 101") {
        return Err(io::Error::other(format!("no upgrade: {head}")));
    }
    handshake::check_accept(&key, &echo::header(&head, "Sec-WebSocket-Accept")).map_err(io::Error::other)?;
    let answered = offer.answered(&echo::header(&head, "Sec-WebSocket-Extensions")).map_err(io::Error::other)?;
    Ok((stream, answered, early))
}
