//! Which app a command acts for, and the key and secret that it shows to the server.

use std::path::Path;

use crate::config::{App, DEFAULT_FILE, Source};
use crate::failure::Failure;

/// One app of a configuration.
#[derive(Debug)]
pub struct AppChoice {
    /// The chosen app.
    pub app: App,
    /// Whether the configuration has others.
    pub several: bool,
}

impl AppChoice {
    /// The app `id` of the configuration, or its only one. `hint` says what to do where there is no file.
    ///
    /// # Errors
    ///
    /// Every problem in the configuration, or a usage failure: no file, no such app, or several to choose from.
    pub fn from_config(path: Option<&Path>, id: Option<&str>, hint: &str) -> Result<Self, Failure> {
        let source = Source::find(path).ok_or_else(|| {
            Failure::Usage(format!("no {DEFAULT_FILE} in the current folder: {hint}"))
        })?;
        let mut apps = source.load()?.apps;
        let several = apps.len() > 1;
        let ids = apps
            .iter()
            .map(|app| app.id.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        let index = match id {
            Some(id) => apps
                .iter()
                .position(|app| app.id == id)
                .ok_or_else(|| format!("no app {id}, the configuration has: {ids}")),
            None if several => Err(format!(
                "the configuration has several apps: choose one with --app: {ids}"
            )),
            None => Ok(0),
        };
        let app = apps.swap_remove(index.map_err(Failure::Usage)?);
        Ok(Self { app, several })
    }
}
