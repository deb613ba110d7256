//! The configuration as a tree in which every value remembers where it was written.
//!
//! A TOML text becomes a [`Node`] tree with byte spans; variables named `STARLING__SECTION__KEY` are then laid
//! over it. What the values mean is decided by the readers of the sections, not here: a variable's text stays
//! [`Value::Text`] until a reader asks for a number, a list or a string.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Every variable that starts so is part of the configuration; an unknown one is an error.
pub(super) const PREFIX: &str = "STARLING__";

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Bytes of the configuration file.
    File(Range<usize>),
    /// A variable of the environment, by name.
    Env(String),
    /// Nowhere: the value is missing from the whole configuration.
    Absent,
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// A TOML value, or the text of a variable, whose type only its reader knows.
#[derive(Clone, Debug)]
pub(super) enum Value {
    String(String),
    Integer(i128),
    Boolean(bool),
    Array(Vec<Node>),
    Table(Table),
    /// A float, a date, or an integer beyond 128 bits, as written: no key takes one.
    Other(String),
    /// The text of a variable.
    Text(String),
}

/// The entries of a table, in no particular order.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) entries: Vec<Entry>,
}

/// One key of a table.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Where the key stands, which is what an unknown key is reported at.
    pub(super) origin: Origin,
    pub(super) node: Node,
}

/// Something wrong that was found before any section was read.
pub(super) struct Fault {
    pub(super) origin: Origin,
    /// The key's path, empty for the file as a whole.
    pub(super) key: String,
    pub(super) message: String,
}

impl Table {
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

impl Node {
    /// A string as it is. The text of a variable is taken whole, unless it is one TOML string in quotes.
    pub(super) fn as_string(&self) -> Option<String> {
        match &self.value {
            Value::String(text) => Some(text.clone()),
            Value::Text(text) if text.starts_with(['"', '\'']) => match parse_value(text, &self.origin) {
                Some(Node { value: Value::String(unquoted), .. }) => Some(unquoted),
                _ => Some(text.clone()),
            },
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    pub(super) fn as_integer(&self) -> Option<i128> {
        match &self.value {
            Value::Integer(number) => Some(*number),
            Value::Text(_) => match self.typed()?.value {
                Value::Integer(number) => Some(number),
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) fn as_boolean(&self) -> Option<bool> {
        match &self.value {
            Value::Boolean(flag) => Some(*flag),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    pub(super) fn as_array(&self) -> Option<Vec<Node>> {
        match &self.value {
            Value::Array(nodes) => Some(nodes.clone()),
            Value::Text(_) => match self.typed()?.value {
                Value::Array(nodes) => Some(nodes),
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) fn as_table(&self) -> Option<Table> {
        match &self.value {
            Value::Table(table) => Some(table.clone()),
            Value::Text(_) => match self.typed()?.value {
                Value::Table(table) => Some(table),
                _ => None,
            },
            _ => None,
        }
    }

    /// The value in words, for "expected …, got …".
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::String(text) | Value::Text(text) => quote(text),
            Value::Integer(number) => number.to_string(),
            Value::Boolean(flag) => flag.to_string(),
            Value::Array(_) => "a list".into(),
            Value::Table(_) => "a table".into(),
            Value::Other(text) => text.clone(),
        }
    }

    /// A variable's text as the TOML value that it spells, if it does.
    fn typed(&self) -> Option<Node> {
        match &self.value {
            Value::Text(text) => parse_value(text, &self.origin),
            _ => None,
        }
    }
}

/// A string in quotes, shortened to what fits in a message, with credentials of a URL masked.
pub(super) fn quote(text: &str) -> String {
    const SHOWN: usize = 80;
    let masked = mask_credentials(text);
    match masked.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", &masked[..end]),
        None => format!("{masked:?}"),
    }
}

/// `redis://user:password@host` → `redis://…@host`.
fn mask_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.into();
    };
    let authority = rest.find('/').unwrap_or(rest.len());
    match rest[..authority].rfind('@') {
        Some(at) => format!("{scheme}://…{}", &rest[at..]),
        None => text.into(),
    }
}

/// Parses a configuration file. What could be read is returned beside everything that could not.
pub(super) fn parse(text: &str) -> (Table, Vec<Fault>) {
    let (document, errors) = DeTable::parse_recoverable(text);
    let faults = errors.iter().map(|error| Fault {
        origin: error.span().map_or(Origin::Absent, Origin::File),
        key: String::new(),
        message: error.message().replace('\n', ", "),
    });
    (table(document.into_inner(), None), faults.collect())
}

fn parse_value(text: &str, origin: &Origin) -> Option<Node> {
    DeValue::parse(text).ok().map(|value| node(value, Some(origin)))
}

/// Converts a parsed value; `origin` stands for all its parts where the text is not the file.
fn node(value: Spanned<DeValue<'_>>, origin: Option<&Origin>) -> Node {
    let span = value.span();
    let value = match value.into_inner() {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(value) => Value::Integer(value),
            Err(_) => Value::Other(number.to_string()),
        },
        DeValue::Float(number) => Value::Other(number.to_string()),
        DeValue::Boolean(flag) => Value::Boolean(flag),
        DeValue::Datetime(date) => Value::Other(date.to_string()),
        DeValue::Array(values) => Value::Array(values.into_iter().map(|value| node(value, origin)).collect()),
        DeValue::Table(entries) => Value::Table(table(entries, origin)),
    };
    Node { value, origin: origin.cloned().unwrap_or(Origin::File(span)) }
}

fn table(entries: DeTable<'_>, origin: Option<&Origin>) -> Table {
    let entries = entries.into_iter().map(|(key, value)| Entry {
        origin: origin.cloned().unwrap_or(Origin::File(key.span())),
        key: key.into_inner().into_owned(),
        node: node(value, origin),
    });
    Table { entries: entries.collect() }
}

/// Lays the variables that start with [`PREFIX`] over the tree.
///
/// `STARLING__LIMITS__BURST` is the key `limits.burst`; a number names an element of a list, so that
/// `STARLING__APPS__0__SECRET` is the secret of the first app. An element after the last one is appended.
pub(super) fn overlay(root: &mut Table, variables: impl IntoIterator<Item = (String, String)>) -> Vec<Fault> {
    let mut variables: Vec<Variable> = variables.into_iter().filter_map(Variable::new).collect();
    // A list before its elements, element 2 before element 10.
    variables
        .sort_by_cached_key(|variable| variable.path.iter().map(|step| (step.len(), step.clone())).collect::<Vec<_>>());
    variables.into_iter().filter_map(|variable| variable.apply(root).err()).collect()
}

/// One variable that belongs to the configuration.
struct Variable {
    name: String,
    path: Vec<String>,
    text: String,
}

impl Variable {
    fn new((name, text): (String, String)) -> Option<Self> {
        let path = name.strip_prefix(PREFIX)?.split("__").map(str::to_ascii_lowercase).collect();
        Some(Self { name, path, text })
    }

    fn apply(&self, root: &mut Table) -> Result<(), Fault> {
        if self.path.iter().any(String::is_empty) {
            return Err(self.fault("expected a name such as STARLING__LIMITS__BURST".into()));
        }
        let leaf = Node { value: Value::Text(self.text.clone()), origin: self.origin() };
        let mut holder = self.entry(root, 0);
        for depth in 1..self.path.len() {
            holder = self.descend(holder, depth)?;
        }
        *holder = leaf;
        Ok(())
    }

    /// The child of `holder` that the path's step `depth` names, made where there is none.
    fn descend<'t>(&self, holder: &'t mut Node, depth: usize) -> Result<&'t mut Node, Fault> {
        if let Some(typed) = holder.typed() {
            *holder = typed;
        }
        let parent = self.path[..depth].join(".");
        match &mut holder.value {
            Value::Table(table) => Ok(self.entry(table, depth)),
            Value::Array(nodes) => {
                let len = nodes.len();
                let index = self.path[depth].parse::<usize>().ok().filter(|index| *index <= len).ok_or_else(|| {
                    self.fault(format!("{parent} is a list: expected the number of an element, 0 to {len}, or the whole list as TOML in {PREFIX}{}", parent.to_ascii_uppercase()))
                })?;
                if index == len {
                    nodes.push(self.branch(depth));
                }
                Ok(&mut nodes[index])
            }
            _ => Err(self.fault(format!("{parent} is not a table"))),
        }
    }

    fn entry<'t>(&self, table: &'t mut Table, depth: usize) -> &'t mut Node {
        let key = &self.path[depth];
        let at = table.entries.iter().position(|entry| entry.key == *key).unwrap_or_else(|| {
            table.entries.push(Entry { key: key.clone(), origin: self.origin(), node: self.branch(depth) });
            table.entries.len() - 1
        });
        &mut table.entries[at].node
    }

    /// What stands at step `depth` while nothing is there yet: a list if an element's number follows.
    fn branch(&self, depth: usize) -> Node {
        let numbered = self.path.get(depth + 1).is_some_and(|step| step.bytes().all(|byte| byte.is_ascii_digit()));
        let value = if numbered { Value::Array(Vec::new()) } else { Value::Table(Table::default()) };
        Node { value, origin: self.origin() }
    }

    fn origin(&self) -> Origin {
        Origin::Env(self.name.clone())
    }

    fn fault(&self, message: String) -> Fault {
        Fault { origin: self.origin(), key: String::new(), message }
    }
}
