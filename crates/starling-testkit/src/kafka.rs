//! A real Kafka broker in KRaft mode: Java, and the jars that `scripts/kafka` fetches.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::{env, fs};

use crate::broker::{Broker, free_port};

/// Where the jars are; `None` where Java or the jars cannot be had, which is said aloud.
///
/// # Panics
/// When they cannot, and `CI` is set: there, nothing is left out.
fn jars() -> Option<&'static Path> {
    static JARS: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = JARS.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/kafka");
        let output = Command::new(script).stderr(Stdio::piped()).output();
        let reason = match output {
            Ok(output) if output.status.success() => {
                return Some(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
            }
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        assert!(env::var_os("CI").is_none(), "Kafka is not installed: {reason}");
        eprintln!("\n*** Kafka is not installed: tests that need it are SKIPPED ***\n{reason}\n");
        None
    });
    found.as_deref()
}

/// Whether a Kafka broker can be started on this machine.
///
/// # Panics
/// As said at the top: when `CI` is set and it cannot.
pub fn kafka_is_installed() -> bool {
    jars().is_some()
}

/// A Kafka broker of one node without TLS and logins, unless `more` lines of its configuration say otherwise; later ones
/// win. `FOLDER` in them is the broker's own, `PORT` its port.
///
/// # Panics
/// When it does not start.
pub fn kafka(more: &str) -> Broker {
    let jars = jars().expect("Kafka is installed");
    Broker::start("java", |port, folder| {
        let properties = folder.join("server.properties");
        write_configuration(&properties, port, folder, more);
        format(jars, &properties);
        let mut arguments = java(jars);
        arguments.extend(["kafka.Kafka".into(), properties.to_string_lossy().into_owned()]);
        arguments
    })
}

/// Makes the broker's storage anew, as if its disk had been replaced.
///
/// # Panics
/// When it runs, or cannot be made.
pub fn wipe_kafka(broker: &Broker) {
    let jars = jars().expect("Kafka is installed");
    fs::remove_dir_all(broker.folder().join("data")).expect("its data are there");
    format(jars, &broker.folder().join("server.properties"));
}

/// Relative to the broker's folder, in which it runs.
const LOGGING: &str = "-Dlog4j.configuration=file:log4j.properties";

/// Small, and quick to start.
fn java(jars: &Path) -> Vec<String> {
    let class_path = format!("{}/*", jars.display());
    let options =
        ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", LOGGING, "-cp", &class_path];
    options.map(str::to_owned).into()
}

fn write_configuration(properties: &Path, port: u16, folder: &Path, more: &str) {
    let (controller, folder) = (free_port(), folder.to_string_lossy());
    let logging = format!("{folder}/log4j.properties");
    let more = more.replace("FOLDER", &folder).replace("PORT", &port.to_string());
    let text = format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=CLIENT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=CLIENT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
         inter.broker.listener.name=CLIENT\n\
         listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         log.dirs={folder}/data\nauto.create.topics.enable=false\n\
         offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
         transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
         num.network.threads=2\nnum.io.threads=2\nbackground.threads=2\n\
         log.cleaner.dedupe.buffer.size=4194304\nlog.index.size.max.bytes=65536\n{more}\n"
    );
    fs::write(properties, text).expect("a configuration");
    let log4j = "log4j.rootLogger=WARN, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\n\
                 log4j.appender.out.layout=org.apache.log4j.PatternLayout\n\
                 log4j.appender.out.layout.ConversionPattern=%d %p %c: %m%n\n";
    fs::write(logging, log4j).expect("a configuration of its log");
}

fn format(jars: &Path, properties: &Path) {
    let mut command = Command::new("java");
    command.current_dir(properties.parent().expect("a folder"));
    command.args(java(jars)).arg("kafka.tools.StorageTool").args(["format", "-t", "c3RhcmxpbmctdGVzdHMtMQ", "-c"]);
    let output = command.arg(properties).output().expect("java runs");
    assert!(output.status.success(), "Kafka's storage: {}", String::from_utf8_lossy(&output.stderr));
}
