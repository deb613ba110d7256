//! What is wrong with a configuration: every problem found, each with file, line, key and the accepted values.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use super::document::{Fault, Origin};

/// Why a configuration was refused: every problem that was found, in the order of the file.
///
/// `{}` prints one line for each; `{:#}` shows the offending line of the file below it, unless that line may hold
/// a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Problem {
    /// `starling.toml:12`, or the name of a variable.
    location: String,
    /// `limits.burst`; empty where the file is not TOML at all.
    key: String,
    message: String,
    excerpt: Option<Excerpt>,
    /// The byte of the file that it is about, to sort by.
    at: usize,
}

/// The line of the file that a problem is about.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Excerpt {
    line: usize,
    text: String,
    /// The columns to underline, in characters.
    marked: Range<usize>,
}

impl ConfigErrors {
    /// A configuration file that could not even be read.
    pub(super) fn unreadable(name: &str, error: &std::io::Error) -> Self {
        let problem = Problem {
            location: name.into(),
            key: String::new(),
            message: format!("cannot read the configuration: {error}"),
            excerpt: None,
            at: 0,
        };
        Self { problems: vec![problem] }
    }

    /// How many problems there are, at least one.
    pub fn count(&self) -> usize {
        self.problems.len()
    }
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.location)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        match &self.excerpt {
            Some(excerpt) if f.alternate() => excerpt.fmt(f),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, text, marked } = self;
        let (indent, carets) = (" ".repeat(marked.start), "^".repeat(marked.len()));
        write!(f, "\n{line:>5} | {text}\n      | {indent}{carets}")
    }
}

/// Collects problems while the sections are read, so that one run reports them all.
pub(super) struct Report<'t> {
    /// What the file is called in messages.
    name: &'t str,
    text: &'t str,
    problems: RefCell<Vec<Problem>>,
}

impl<'t> Report<'t> {
    pub(super) fn new(name: &'t str, text: &'t str) -> Self {
        Self { name, text, problems: RefCell::default() }
    }

    pub(super) fn fault(&self, fault: Fault) {
        self.add(&fault.origin, &fault.key, fault.message);
    }

    pub(super) fn add(&self, origin: &Origin, key: &str, message: impl Into<String>) {
        let (location, excerpt, at) = match origin {
            Origin::File(span) => {
                let (line, excerpt) = self.locate(span);
                (format!("{}:{line}", self.name), excerpt, span.start)
            }
            Origin::Env(name) => (name.clone(), None, usize::MAX),
            Origin::Absent => (self.name.to_owned(), None, usize::MAX),
        };
        let problem = Problem { location, key: key.into(), message: message.into(), excerpt, at };
        self.problems.borrow_mut().push(problem);
    }

    /// `Ok` if nothing was reported.
    pub(super) fn finish(self) -> Result<(), ConfigErrors> {
        let mut problems = self.problems.into_inner();
        if problems.is_empty() {
            return Ok(());
        }
        problems.sort_by_key(|problem| problem.at);
        Err(ConfigErrors { problems })
    }

    /// The line number of a span, from 1, and the line itself if it may be shown.
    fn locate(&self, span: &Range<usize>) -> (usize, Option<Excerpt>) {
        // A span may end inside a character where the text could not be parsed.
        let start = (0..=span.start.min(self.text.len())).rfind(|at| self.text.is_char_boundary(*at)).unwrap_or(0);
        let head = &self.text[..start];
        let line = head.matches('\n').count() + 1;
        let from = head.rfind('\n').map_or(0, |newline| newline + 1);
        let text = self.text[from..].lines().next().unwrap_or_default();
        if text.is_empty() || may_hold_secret(text) {
            return (line, None);
        }
        let column = head[from..].chars().count();
        let end = span.end.clamp(start, from + text.len()).max(start);
        let width = self.text.get(start..end).map_or(1, |marked| marked.chars().count().max(1));
        // Tabs would shift the underline.
        let text = text.replace('\t', " ");
        (line, Some(Excerpt { line, text, marked: column..column + width }))
    }
}

/// Lines that name a secret, or hold a URL with credentials, stay out of logs.
fn may_hold_secret(line: &str) -> bool {
    line.contains("secret") || line.split("://").skip(1).any(|rest| rest.contains('@'))
}
