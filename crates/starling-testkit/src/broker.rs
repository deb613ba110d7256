//! Starts a broker's real program on a free port in a folder of its own, stops, kills, pauses and restarts it.
//!
//! The program ends with the test process, however that ends: a small shell between the two waits for its standard
//! input to close.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// How long a broker may take to accept connections, or to end: Kafka takes 5 s alone, and many times that on a busy
/// machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs the command after it and prints its process id. Where the standard input ends without a line, the test process
/// is gone: the command is killed, and its folder goes too.
const WATCH: &str = r#"
exec 3<&0
"$@" </dev/null >>broker.log 2>&1 &
broker=$!
echo $broker
(read -r _ <&3 || { kill -9 $broker; rm -rf "$PWD"; }) >/dev/null 2>&1 &
wait $broker
"#;

/// Whether `program` can be started on this machine.
///
/// # Panics
/// When it cannot, and `CI` is set: there, nothing is left out.
pub fn is_installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        assert!(env::var_os("CI").is_none(), "{program} is not installed");
        eprintln!("\n*** {program} is not installed: tests that need it are SKIPPED ***\n");
    }
    found
}

/// A port of 127.0.0.1 that nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// A broker that runs, or ran and can be started again on the same port with the same folder.
pub struct Broker {
    program: OsString,
    arguments: Vec<OsString>,
    port: u16,
    folder: PathBuf,
    running: Option<Running>,
}

struct Running {
    /// The shell; it ends with the broker.
    watch: Child,
    broker: u32,
}

impl Broker {
    /// Starts `program` with the arguments that `arguments` makes of the port and the folder, and waits until it accepts
    /// connections.
    ///
    /// # Panics
    /// When it does not within two minutes; the message has its output.
    pub fn start<A: Into<OsString>>(program: &str, arguments: impl FnOnce(u16, &Path) -> Vec<A>) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("starling-{program}-{}-{count}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        let port = free_port();
        let arguments = arguments(port, &folder).into_iter().map(Into::into).collect();
        let mut broker = Self { program: program.into(), arguments, port, folder, running: None };
        broker.restart();
        broker
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its folder, which goes with it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it does not run.
    pub fn id(&self) -> u32 {
        self.running.as_ref().expect("the broker runs").broker
    }

    /// Starts it again with the same port, folder and arguments.
    ///
    /// # Panics
    /// As [`Broker::start`].
    pub fn restart(&mut self) {
        self.kill();
        let mut command = Command::new("sh");
        command.arg("-c").arg(WATCH).arg("sh").arg(&self.program).args(&self.arguments);
        command.current_dir(&self.folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut watch = command.spawn().expect("a shell");
        let mut line = String::new();
        let output = watch.stdout.take().expect("its output is piped");
        BufReader::new(output).read_line(&mut line).expect("the shell says the process id");
        let broker = line.trim().parse().expect("a process id");
        self.running = Some(Running { watch, broker });
        self.wait_until_it_listens();
    }

    fn wait_until_it_listens(&self) {
        let deadline = Instant::now() + PATIENCE;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            assert!(Instant::now() < deadline, "{:?} does not listen: {}", self.program, self.output());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// What it has printed.
    pub fn output(&self) -> String {
        let mut text = String::new();
        let _ = fs::File::open(self.folder.join("broker.log")).and_then(|mut file| file.read_to_string(&mut text));
        text
    }

    /// Asks it to end (SIGTERM), and waits until it did.
    pub fn stop(&mut self) {
        self.end("-TERM");
    }

    /// Ends it without a word (SIGKILL).
    pub fn kill(&mut self) {
        self.end("-KILL");
    }

    /// Stops it in its tracks: connections stay open, nothing is answered.
    pub fn pause(&self) {
        self.signal("-STOP");
        // A thread that runs on another core answers for a moment more.
        if let Some(running) = &self.running {
            while has_running_threads(running.broker) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        if let Some(running) = &self.running {
            let _ = Command::new("kill").arg(signal).arg(running.broker.to_string()).stderr(Stdio::null()).status();
        }
    }

    fn end(&mut self, signal: &str) {
        self.signal(signal);
        let Some(mut running) = self.running.take() else { return };
        let mut input = running.watch.stdin.take();
        let _ = running.watch.wait();
        let _ = input.as_mut().map(|input| input.write_all(b"ended\n"));
    }
}

/// Whether a thread of a process that was told to stop goes on, as far as the system tells (proc(5)).
fn has_running_threads(process: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok()).any(|stat| {
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        !matches!(state, None | Some('T' | 't' | 'Z' | 'X'))
    })
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A `redis-server` without persistence, unless `more` arguments say otherwise; later ones win.
pub fn redis_server(more: &[&str]) -> Broker {
    Broker::start("redis-server", |port, _| {
        let port = port.to_string();
        let mut arguments: Vec<String> = ["--bind", "127.0.0.1", "--save", "", "--port", &port].map(Into::into).into();
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        arguments
    })
}
