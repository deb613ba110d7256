//! The servers under test: started on a free port, pinned to the first core, ended with their owner.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::{Settings, pinned};
use crate::tls;

/// Starling's configuration: rules and limits that let the clients through, and nothing that the bare loop lacks.
const CONFIGURATION: &str = r#"
[server]
admin_listen = "127.0.0.1:0"

[origins]
allow = ["*"]

[auth]
anonymous = true

[limits]
messages_per_second = 1_000_000
burst = 1_000_000

[[apps]]
id = "1"
key = "{APP_KEY}"
secret = "{APP_SECRET}"

# `stall`: the member that does not read stays, and loses messages.
[[channels]]
match = "stall"
subscribe = "anyone"
publish = "anyone"
delivery = "drop"

[[channels]]
match = "*"
subscribe = "anyone"
publish = "anyone"
"#;

/// Key of the configured app.
pub const APP_KEY: &str = "bench-key";
/// Its secret.
pub const APP_SECRET: &str = "bench-secret-that-is-long-enough-for-hs256";

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerKind {
    /// The bare loop, one send per message and member.
    Limit,
    /// The bare loop, one send per turn and member.
    LimitBatch,
    /// Starling with one worker.
    Starling,
}

impl ServerKind {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::LimitBatch => "limit-batch",
            Self::Starling => "starling",
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it printed.
    pub log: PathBuf,
    /// Its certificate, if it speaks TLS.
    pub certificate: Option<PathBuf>,
}

impl Server {
    /// Starts a server and waits until it accepts connections. Only Starling can be `encrypted`.
    ///
    /// # Errors
    /// Fails when it ends, or does not listen within ten seconds.
    pub fn start(kind: ServerKind, encrypted: bool, settings: &Settings) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("starling-bench-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let address = free_address()?;
        let log = folder.join(format!("{}.log", kind.name()));
        let certificate = encrypted.then(|| folder.join("certificate.pem"));
        let mut command = match kind {
            ServerKind::Limit => pinned(0, &settings.programs.join("limit")),
            ServerKind::LimitBatch => {
                let mut command = pinned(0, &settings.programs.join("limit"));
                command.arg("--batch");
                command
            }
            ServerKind::Starling => starling(settings, &folder, certificate.as_deref())?,
        };
        let output = File::create(&log)?;
        let child = command
            .args(["--listen", &address.to_string()])
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("failed to start {}", kind.name()))?;
        let mut server = Self { child, address, log, certificate };
        server.await_listening()?;
        Ok(server)
    }

    /// The process id; `taskset` has become the server.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn await_listening(&mut self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended with {status}; its log is {}", self.log.display());
            }
            if Instant::now() > end {
                bail!("the server does not listen; its log is {}", self.log.display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn starling(settings: &Settings, folder: &Path, certificate: Option<&Path>) -> Result<Command> {
    let program = settings.starling.as_deref().context("no starling to measure")?;
    let mut text = CONFIGURATION.replace("{APP_KEY}", APP_KEY).replace("{APP_SECRET}", APP_SECRET);
    if let Some(certificate) = certificate {
        let key = folder.join("key.pem");
        tls::write_certificate(certificate, &key)?;
        text += &format!("\n[tls]\ncert = {certificate:?}\nkey = {key:?}\n");
    }
    let configuration = folder.join("starling.toml");
    fs::write(&configuration, text)?;
    let mut command = pinned(0, program);
    // One worker: the bare loop has one thread.
    command.arg("serve").arg("--config").arg(configuration).env("STARLING__SERVER__WORKERS", "1");
    Ok(command)
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
