//! What a Rust handler costs: the CPU time of the worker per event that a handler echoes, and per built-in `ping`, in
//! one run. `cargo run --release -p starling --example handler_cost`
//!
//! Rounds of both kinds take turns, so that what else the machine does hits both alike; the medians are compared.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use starling::Server;
use starling::handlers::{Answer, Connection, Handlers, Raw};

const ROUNDS: usize = 21;
const MESSAGES: usize = 20_000;

async fn echo(_: Connection, payload: Raw) -> Answer<Raw> {
    Ok(payload)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder()
        .listen("127.0.0.1:0")
        .anonymous()
        .workers(1)
        .handlers(Handlers::new().on("echo", echo))
        .configure(|options| {
            options.live.limits.messages_per_second = u32::MAX;
            options.live.limits.burst = u32::MAX;
            options.live.compression = false;
        })
        .start()?;
    let address = server.addresses()[0];
    let measured = tokio::task::spawn_blocking(move || measure(address).map_err(|error| error.to_string())).await?;
    server.stop().await;
    Ok(measured?)
}

fn measure(address: SocketAddr) -> std::io::Result<()> {
    let worker = worker_thread()?;
    let mut socket = connect(address)?;
    let ping = frame(br#"{"type":"ping","id":1}"#);
    let event = frame(br#"{"type":"event","id":1,"event":"echo","payload":"hello"}"#);
    println!("messages at once | ping, ns | event, ns | event / ping");
    for window in [1, 32] {
        let (mut pings, mut events) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS + 2 {
            let ping = round_of(&mut socket, &ping, window, &worker)?;
            let event = round_of(&mut socket, &event, window, &worker)?;
            // The first ones warm up, and a handler is on trial.
            if round >= 2 {
                pings.push(ping);
                events.push(event);
            }
        }
        let (ping, event) = (median(pings), median(events));
        println!("{window:16} | {ping:8.0} | {event:9.0} | {:.2}", event / ping);
    }
    Ok(())
}

/// Sends messages, a window of them at once, and waits for their answers. Returns the worker's nanoseconds for each.
fn round_of(socket: &mut BufReader<TcpStream>, message: &[u8], window: usize, worker: &str) -> std::io::Result<f64> {
    let burst = message.repeat(window);
    let before = cpu_time(worker)?;
    for _ in 0..MESSAGES / window {
        socket.get_mut().write_all(&burst)?;
        for _ in 0..window {
            skip_frame(socket)?;
        }
    }
    Ok((cpu_time(worker)? - before) as f64 / (MESSAGES / window * window) as f64)
}

fn connect(address: SocketAddr) -> std::io::Result<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )?;
    let mut socket = BufReader::new(stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        socket.read_line(&mut line)?;
    }
    Ok(socket)
}

/// A text frame of a client, masked with zeros (RFC 6455 section 5.3).
fn frame(text: &[u8]) -> Vec<u8> {
    assert!(text.len() < 126, "a short frame");
    let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(text);
    frame
}

fn skip_frame(socket: &mut BufReader<TcpStream>) -> std::io::Result<()> {
    let mut head = [0; 2];
    socket.read_exact(&mut head)?;
    let mut body = [0; 125];
    socket.read_exact(&mut body[..usize::from(head[1])])
}

/// The folder of the one worker's thread in `/proc`.
fn worker_thread() -> std::io::Result<String> {
    for task in std::fs::read_dir("/proc/self/task")? {
        let path = task?.path();
        if std::fs::read_to_string(path.join("comm"))?.trim() == "starling-0" {
            return Ok(path.to_string_lossy().into_owned());
        }
    }
    Err(std::io::Error::other("no worker"))
}

/// The CPU time of a thread, in nanoseconds.
fn cpu_time(thread: &str) -> std::io::Result<u64> {
    let stat = std::fs::read_to_string(format!("{thread}/schedstat"))?;
    stat.split(' ').next().and_then(|text| text.parse().ok()).ok_or_else(|| std::io::Error::other("no schedstat"))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
