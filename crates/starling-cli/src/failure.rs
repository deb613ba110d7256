//! How a command ends when it does not succeed, and the exit code that says so.

use std::fmt;
use std::process::ExitCode;

use crate::config::ConfigErrors;

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub enum Failure {
    /// Wrong usage: exit code 2.
    Usage(String),
    /// A wrong configuration, with every problem in it: exit code 2.
    Config(ConfigErrors),
    /// It was asked rightly, and did not work out: exit code 1.
    Failed(anyhow::Error),
}

impl Failure {
    /// Exit code 1 or 2, as section 2 of the contract has it.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Failed(_) => ExitCode::from(1),
            Self::Usage(_) | Self::Config(_) => ExitCode::from(2),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) => write!(f, "starling: {message}"),
            Self::Failed(error) => write!(f, "starling: {error:#}"),
            // Without a prefix, so that each line starts with `file:line:`, as editors expect.
            Self::Config(errors) => {
                let problems =
                    if errors.count() == 1 { "1 problem".into() } else { format!("{} problems", errors.count()) };
                write!(f, "{errors:#}\nstarling: {problems} in the configuration")
            }
        }
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::Config(errors)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}
