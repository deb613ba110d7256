//! Reads the keys of one table: each with its default, its range and the words in which a wrong value is refused.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::document::{Node, Origin, Table};
use super::problem::Report;
use super::quantity::{format_duration, format_size, parse_duration, parse_size};

/// What all sections share while a configuration is read.
pub(super) struct Reading<'t> {
    pub(super) report: Report<'t>,
    /// The folder that files named in the configuration are relative to.
    pub(super) folder: &'t Path,
}

/// One table being read. A wrong value is reported and its default returned, so that reading goes on;
/// [`Section::finish`] reports the keys that nobody asked for.
pub(super) struct Section<'r, 't> {
    reading: &'r Reading<'t>,
    /// `limits`, `apps[0]`; empty for the file's top level.
    path: String,
    table: Table,
    /// Where the table stands, which is what a missing key is reported at.
    origin: Origin,
    /// The keys that were asked for: the ones there are.
    known: Vec<&'static str>,
}

impl<'r, 't> Section<'r, 't> {
    pub(super) fn new(reading: &'r Reading<'t>, path: impl Into<String>, table: Table, origin: Origin) -> Self {
        Self { reading, path: path.into(), table, origin, known: Vec::new() }
    }

    /// The value of `key`, whatever it is.
    pub(super) fn node(&mut self, key: &'static str) -> Option<Node> {
        self.know(&[key]);
        self.table.get(key).map(|entry| entry.node.clone())
    }

    /// Declares keys that exist, whether or not they will be read.
    pub(super) fn know(&mut self, keys: &[&'static str]) {
        for key in keys {
            if !self.known.contains(key) {
                self.known.push(key);
            }
        }
    }

    /// Reads `key` with `parse`, whose `None` means that the value is not `expected`.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        expected: impl Display,
        parse: impl FnOnce(&Node) -> Option<T>,
    ) -> Option<T> {
        let node = self.node(key)?;
        let value = parse(&node);
        if value.is_none() {
            self.refuse(key, &node, expected);
        }
        value
    }

    /// Reads `key`, and reports it where it is missing.
    pub(super) fn require<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl FnOnce(&Node) -> Option<T>,
    ) -> Option<T> {
        if self.is_missing(key, expected) { None } else { self.read(key, expected, parse) }
    }

    /// Whether `key` is missing, which is then reported.
    pub(super) fn is_missing(&mut self, key: &'static str, expected: &str) -> bool {
        self.know(&[key]);
        if self.has(key) {
            return false;
        }
        self.complain(key, format_args!("missing, expected {expected}"));
        true
    }

    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        self.read(key, "true or false", Node::as_boolean).unwrap_or(default)
    }

    /// A whole number of `unit`.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        unit: &str,
        range: RangeInclusive<usize>,
        default: usize,
    ) -> usize {
        let expected = format!("a whole number of {unit}, {} to {}", range.start(), range.end());
        let parse = |node: &Node| {
            node.as_integer().and_then(|number| usize::try_from(number).ok()).filter(|number| range.contains(number))
        };
        self.read(key, expected, parse).unwrap_or(default)
    }

    pub(super) fn duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        let (least, most) = (format_duration(*range.start()), format_duration(*range.end()));
        let expected = format!("a duration of {least} to {most}, such as {:?}", format_duration(default));
        let parse = |node: &Node| parse_duration(&node.as_string()?).filter(|duration| range.contains(duration));
        self.read(key, expected, parse).unwrap_or(default)
    }

    /// A size in bytes: `"64KiB"`, or a plain number.
    pub(super) fn size(&mut self, key: &'static str, range: RangeInclusive<usize>, default: usize) -> usize {
        let (least, most) = (format_size(*range.start()), format_size(*range.end()));
        let expected = format!("a size of {least} to {most}, such as {:?}", format_size(default));
        let parse = |node: &Node| {
            let bytes = match node.as_integer() {
                Some(number) => usize::try_from(number).ok()?,
                None => parse_size(&node.as_string()?)?,
            };
            range.contains(&bytes).then_some(bytes)
        };
        self.read(key, expected, parse).unwrap_or(default)
    }

    /// One of a fixed set of words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let expected = one_of(choices.iter().map(|(word, _)| *word));
        self.read(key, expected, |node| choose(node, choices))
    }

    /// A list whose elements are each read by `parse`; those that are not `expected` are reported one by one,
    /// and then there is no list.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl Fn(&Node) -> Option<T>,
    ) -> Option<Vec<T>> {
        let nodes = self.read(key, format_args!("a list, each {expected}"), Node::as_array)?;
        let mut values = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.iter().enumerate() {
            match parse(node) {
                Some(value) => values.push(value),
                None => self.refuse(&format!("{key}[{index}]"), node, expected),
            }
        }
        (values.len() == nodes.len()).then_some(values)
    }

    /// A table below this one, or `None` where it was left out.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Section<'r, 't>> {
        self.section_like(key, &format!("[{}]", self.key(key)))
    }

    /// A table below this one, which usually looks like `example`.
    pub(super) fn section_like(&mut self, key: &'static str, example: &str) -> Option<Section<'r, 't>> {
        let node = self.node(key)?;
        let Some(table) = node.as_table() else {
            self.refuse(key, &node, format_args!("a table, {example}"));
            return None;
        };
        Some(Section::new(self.reading, self.key(key), table, node.origin))
    }

    /// The tables of a list of tables; `single` also accepts one table in place of the list.
    pub(super) fn sections(&mut self, key: &'static str, single: bool) -> Vec<Section<'r, 't>> {
        let Some(node) = self.node(key) else {
            return Vec::new();
        };
        let path = self.key(key);
        if single && let Some(table) = node.as_table() {
            return vec![Section::new(self.reading, path, table, node.origin)];
        }
        let Some(nodes) = node.as_array() else {
            self.refuse(key, &node, format_args!("a list of tables, [[{path}]]"));
            return Vec::new();
        };
        let mut sections = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.into_iter().enumerate() {
            match node.as_table() {
                Some(table) => {
                    sections.push(Section::new(self.reading, format!("{path}[{index}]"), table, node.origin))
                }
                None => self.refuse(&format!("{key}[{index}]"), &node, "a table"),
            }
        }
        sections
    }

    /// A file that exists, relative to the folder of the configuration.
    pub(super) fn file(&mut self, key: &'static str) -> Option<PathBuf> {
        let node = self.node(key)?;
        let Some(name) = node.as_string().filter(|name| !name.is_empty()) else {
            self.refuse(key, &node, "the name of a file");
            return None;
        };
        let path = self.reading.folder.join(&name);
        match std::fs::File::open(&path) {
            Ok(file) if file.metadata().is_ok_and(|metadata| metadata.is_file()) => Some(path),
            Ok(_) => {
                self.complain(key, format_args!("{} is not a file", path.display()));
                None
            }
            Err(error) => {
                self.complain(key, format_args!("cannot open {}: {error}", path.display()));
                None
            }
        }
    }

    /// Whether the key was written at all.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.get(key).is_some()
    }

    /// Reports something about a key that is present, or about the table where it is not.
    pub(super) fn complain(&self, key: &str, message: impl Display) {
        let origin = self.table.get(key).map_or(&self.origin, |entry| &entry.node.origin);
        self.report(origin, key, message);
    }

    /// Reports something about a key of an element of a list of tables.
    pub(super) fn complain_element(&self, list: &str, index: usize, key: &str, message: impl Display) {
        let elements = self.table.get(list).and_then(|entry| entry.node.as_array()).unwrap_or_default();
        let table = elements.get(index).and_then(Node::as_table);
        let origin = table.as_ref().and_then(|table| table.get(key)).map_or(&self.origin, |entry| &entry.node.origin);
        self.report(origin, &format!("{list}[{index}].{key}"), message);
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self) {
        for entry in &self.table.entries {
            if !self.known.contains(&entry.key.as_str()) {
                let accepted = self.known.join(", ");
                let message = match nearest(&entry.key, &self.known) {
                    Some(meant) => {
                        format!("unknown key, did you mean {meant}? accepted: {accepted}")
                    }
                    None => format!("unknown key, accepted: {accepted}"),
                };
                self.report(&entry.origin, &entry.key, message);
            }
        }
    }

    fn refuse(&self, key: &str, node: &Node, expected: impl Display) {
        // What is written for a secret never reaches a terminal or a log.
        let got = if key == "secret" { "something else".into() } else { node.describe() };
        self.report(&node.origin, key, format_args!("expected {expected}, got {got}"));
    }

    fn report(&self, origin: &Origin, key: &str, message: impl Display) {
        self.reading.report.add(origin, &self.key(key), message.to_string());
    }

    /// The whole path of a key.
    fn key(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            ("", key) => key.into(),
            (path, "") => path.into(),
            (path, key) => format!("{path}.{key}"),
        }
    }
}

/// The value of a word in a fixed set.
pub(super) fn choose<T: Copy>(node: &Node, choices: &[(&str, T)]) -> Option<T> {
    let word = node.as_string()?;
    choices.iter().find(|(name, _)| *name == word).map(|(_, value)| *value)
}

/// `"a", "b" or "c"`.
pub(super) fn one_of<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let mut quoted: Vec<String> = words.into_iter().map(|word| format!("{word:?}")).collect();
    match quoted.pop() {
        Some(last) if !quoted.is_empty() => format!("{} or {last}", quoted.join(", ")),
        Some(only) => only,
        None => String::new(),
    }
}

/// The known key that a misspelt one was probably meant to be.
fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let allowed = (key.len() / 2).clamp(1, 3);
    known
        .iter()
        .map(|name| (distance(key, name), *name))
        .filter(|(edits, _)| *edits <= allowed)
        .min()
        .map(|(_, name)| name)
}

/// How many characters have to be inserted, removed or replaced (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
