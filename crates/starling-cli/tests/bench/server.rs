//! The real server, with `--dev`, on a free port.

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    process::{Child, Command, Stdio},
};

pub struct Server {
    pub child: Child,
    pub url: String,
}

impl Server {
    /// Starts it and waits until it says where it listens.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_starling"))
            .args(["serve", "--dev", "--listen", "127.0.0.1:0"])
            .current_dir(folder.path())
            .env_clear()
            // A run may publish as fast as it gets answers.
            .env("STARLING__LIMITS__MESSAGES_PER_SECOND", "1000000")
            .env("STARLING__LIMITS__BURST", "1000000")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        let url = loop {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "it ended before it listened");
            if let Some((_, rest)) = line.split_once("http://127.0.0.1:") {
                let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
                break format!("http://127.0.0.1:{port}");
            }
        };
        // It shall never wait for someone to read what it prints.
        std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        Self { child, url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A URL at which nobody listens.
pub fn free_url() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
