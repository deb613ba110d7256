//! Where logs go and what they look like. They are written to standard error; results go to standard output.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people: one line each, in colour on a terminal.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// The options about logs, which every command takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Logs (on standard error)")]
pub struct LogArgs {
    /// What is logged: error, warn, info, debug, trace or off, also by module, as in "info,starling=debug" [default: info for serve, off for other commands]
    #[arg(long, value_name = "FILTER", global = true, env = "STARLING_LOG")]
    log: Option<String>,
    /// Shape of the log lines [default: text on a terminal, json otherwise]
    #[arg(long, value_name = "FORMAT", global = true, env = "STARLING_LOG_FORMAT")]
    log_format: Option<LogFormat>,
}

impl LogArgs {
    /// Sets logging up for the whole process; `default` is the filter where none was given.
    ///
    /// # Errors
    ///
    /// A usage failure for a filter that cannot be read.
    pub fn init(&self, default: &str) -> Result<(), Failure> {
        let filter = self.log.as_deref().unwrap_or(default);
        let filter = EnvFilter::try_new(filter).map_err(|error| {
            Failure::Usage(format!(
                r#"--log: expected a level or a list such as "info,starling=debug", got {filter:?}: {error}"#
            ))
        })?;
        let terminal = std::io::stderr().is_terminal();
        let format = self.log_format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json });
        // Who reads the log may go away; that is no reason for a server to end.
        let logs =
            tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
        match format {
            LogFormat::Text => logs.with_ansi(terminal && std::env::var_os("NO_COLOR").is_none()).init(),
            LogFormat::Json => logs.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
        }
        Ok(())
    }
}
