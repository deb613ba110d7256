//! Channel patterns with named parts, and the parts of a name as typed values.

use std::fmt;

use serde::de::{self, DeserializeOwned, IntoDeserializer, Visitor, value};
use smallvec::SmallVec;
use starling_core::{ChannelName, InvalidPattern, Pattern};
use thiserror::Error;

/// A pattern that captures parts of channel names: `game:{id}`, `org:{org}:room:{room}`, `feed:*`.
///
/// `{name}` stands for one or more characters, up to where what follows it in the pattern is found first; `*` for any
/// run of characters, not captured.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    text: Box<str>,
    parts: Box<[Part]>,
    names: Box<[Box<str>]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    /// At least one character, captured.
    Capture,
    /// Any run, not captured.
    Any,
}

/// A channel pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("channel pattern {pattern:?}: {problem}")]
pub struct RouteError {
    /// The pattern as it was given.
    pub pattern: String,
    /// What is wrong with it.
    pub problem: RouteProblem,
}

/// Why a channel pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RouteProblem {
    /// It has no characters.
    #[error("it is empty")]
    Empty,
    /// A `{` without its `}`, or an empty name.
    #[error("a part is written {{name}}")]
    Placeholder,
    /// Two parts of one name.
    #[error("{0:?} stands there twice")]
    Duplicate(String),
    /// Nothing tells where one part ends and the next begins.
    #[error("two parts need something between them")]
    Adjacent,
    /// The type that handlers take the parts as wants others.
    #[error("its parts do not fit the handlers' type: {0}")]
    Type(String),
    /// The rules do not take it.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
}

/// What a route captured of a name, in the order of the pattern.
pub(crate) type Captures<'n> = SmallVec<[&'n str; 4]>;

impl Route {
    pub fn parse(text: &str) -> Result<Self, RouteError> {
        parse(text).map_err(|problem| RouteError { pattern: text.to_owned(), problem })
    }

    /// The parts of `name`, if it matches.
    ///
    /// What follows a part is looked for at its first occurrence, which leaves the most for the rest: nothing needs
    /// to be tried twice.
    pub fn captures<'n>(&self, name: &'n str) -> Option<Captures<'n>> {
        let mut captures = Captures::new();
        let mut rest = name;
        let mut parts = self.parts.iter().peekable();
        while let Some(part) = parts.next() {
            let least = match part {
                Part::Literal(text) => {
                    rest = rest.strip_prefix(&**text)?;
                    continue;
                }
                Part::Capture => rest.chars().next()?.len_utf8(),
                Part::Any => 0,
            };
            let end = match parts.next() {
                None => rest.len(),
                // The last literal must stand at the end, not at its first occurrence.
                Some(Part::Literal(text)) if parts.peek().is_none() => {
                    let start = rest.len().checked_sub(text.len())?;
                    if start < least || !rest.ends_with(&**text) {
                        return None;
                    }
                    rest = &rest[..start];
                    start
                }
                Some(Part::Literal(text)) => {
                    let found = least + rest[least..].find(&**text)?;
                    if *part == Part::Capture {
                        captures.push(&rest[..found]);
                    }
                    rest = &rest[found + text.len()..];
                    continue;
                }
                Some(Part::Capture | Part::Any) => unreachable!("adjacent parts were refused"),
            };
            if *part == Part::Capture {
                captures.push(&rest[..end]);
            }
            rest = "";
        }
        rest.is_empty().then_some(captures)
    }

    /// The rules' pattern for the same channels. `{user}` stays what it is there: the caller's own id.
    pub fn pattern(&self) -> Result<Pattern, RouteError> {
        let mut names = self.names.iter();
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Any => text.push('*'),
                Part::Capture if names.next().is_some_and(|name| &**name == "user") => text.push_str("{user}"),
                Part::Capture => text.push('*'),
            }
        }
        Pattern::parse(&text)
            .map_err(|error| RouteError { pattern: self.text.to_string(), problem: RouteProblem::Pattern(error) })
    }

    /// Whether the parts can be taken as a `T` at all, as far as its shape tells.
    pub fn check<T: DeserializeOwned>(&self) -> Result<(), RouteError> {
        let mut problem = None;
        // The probe reads nothing: it only looks at what is asked of it, and always fails.
        let _ = T::deserialize(Probe { names: &self.names, problem: &mut problem });
        match problem {
            Some(problem) => Err(RouteError { pattern: self.text.to_string(), problem: RouteProblem::Type(problem) }),
            None => Ok(()),
        }
    }

    /// The parts as a value: `()` for none, a scalar or a newtype for one, a tuple in order, a struct by name.
    pub fn values<T: DeserializeOwned>(&self, channel: &ChannelName) -> Result<T, value::Error> {
        let captures = self.captures(channel.as_str()).ok_or_else(|| de::Error::custom("the name does not match"))?;
        T::deserialize(Parts { names: &self.names, values: &captures })
    }
}

fn parse(text: &str) -> Result<Route, RouteProblem> {
    if text.is_empty() {
        return Err(RouteProblem::Empty);
    }
    let mut parts = Vec::new();
    let mut names: Vec<Box<str>> = Vec::new();
    let mut rest = text;
    while let Some(index) = rest.find(['*', '{']) {
        if index > 0 {
            parts.push(Part::Literal(rest[..index].into()));
        }
        if matches!(parts.last(), Some(Part::Capture | Part::Any)) {
            return Err(RouteProblem::Adjacent);
        }
        rest = &rest[index..];
        if let Some(after) = rest.strip_prefix('*') {
            parts.push(Part::Any);
            rest = after;
            continue;
        }
        let (name, after) = rest[1..].split_once('}').ok_or(RouteProblem::Placeholder)?;
        if name.is_empty() || name.contains('{') {
            return Err(RouteProblem::Placeholder);
        }
        if names.iter().any(|known| &**known == name) {
            return Err(RouteProblem::Duplicate(name.to_owned()));
        }
        names.push(name.into());
        parts.push(Part::Capture);
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest.into()));
    }
    Ok(Route { text: text.into(), parts: parts.into(), names: names.into() })
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Reads the captured parts as the type that a handler takes.
struct Parts<'a> {
    names: &'a [Box<str>],
    values: &'a [&'a str],
}

impl<'de> Parts<'_> {
    fn only(&self) -> Result<Word, value::Error> {
        match self.values {
            [value] => Ok(Word((*value).to_owned())),
            values => Err(de::Error::custom(format!("the pattern has {} parts, not one", values.len()))),
        }
    }

    fn words(&self) -> impl Iterator<Item = Word> {
        self.values.iter().map(|value| Word((*value).to_owned()))
    }

    fn sequence<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, value::Error> {
        visitor.visit_seq(value::SeqDeserializer::new(self.words().collect::<Vec<_>>().into_iter()))
    }

    fn map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, value::Error> {
        let entries: Vec<(String, Word)> = self.names.iter().map(|name| name.to_string()).zip(self.words()).collect();
        visitor.visit_map(value::MapDeserializer::new(entries.into_iter()))
    }
}

macro_rules! forward_to_only {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            self.only()?.$method(visitor)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Parts<'_> {
    type Error = value::Error;

    forward_to_only! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32
        deserialize_f64 deserialize_char deserialize_str deserialize_string deserialize_bytes
        deserialize_byte_buf deserialize_option deserialize_identifier
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.values {
            [] => visitor.visit_unit(),
            [_] => self.only()?.deserialize_any(visitor),
            _ => self.map(visitor),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.sequence(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Self::Error> {
        if len != self.values.len() {
            return Err(de::Error::custom(format!("the pattern has {} parts, not {len}", self.values.len())));
        }
        self.sequence(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.map(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.only()?.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_unit()
    }
}

/// One captured part, read as whatever is asked for.
struct Word(String);

impl<'de> IntoDeserializer<'de, value::Error> for Word {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parse_word {
    ($($method:ident $visit:ident $kind:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            let value: $kind = self.0.parse().map_err(|error| de::Error::custom(format!("{:?}: {error}", self.0)))?;
            visitor.$visit(value)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Word {
    type Error = value::Error;

    parse_word! {
        deserialize_bool visit_bool bool;
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
        deserialize_i128 visit_i128 i128;
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
        deserialize_u128 visit_u128 u128;
        deserialize_f32 visit_f32 f32;
        deserialize_f64 visit_f64 f64;
        deserialize_char visit_char char;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_string(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let word: value::StringDeserializer<value::Error> = self.0.into_deserializer();
        word.deserialize_enum(name, variants, visitor)
    }

    serde::forward_to_deserialize_any! {
        str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// Looks at what shape a type has, and notes where the pattern's parts do not fit it.
struct Probe<'a> {
    names: &'a [Box<str>],
    problem: &'a mut Option<String>,
}

impl Probe<'_> {
    fn wants(self, fits: bool, what: String) -> value::Error {
        if !fits {
            let names: Vec<&str> = self.names.iter().map(|name| &**name).collect();
            *self.problem = Some(format!("it takes {what}, the pattern has {names:?}"));
        }
        de::Error::custom("only a probe")
    }

    fn one(self) -> value::Error {
        let fits = self.names.len() == 1;
        self.wants(fits, "one part".to_owned())
    }
}

macro_rules! probe_one {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(self.one())
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Probe<'_> {
    type Error = value::Error;

    probe_one! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32
        deserialize_f64 deserialize_char deserialize_str deserialize_string deserialize_bytes
        deserialize_byte_buf deserialize_option deserialize_identifier
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, _: V) -> Result<V::Value, Self::Error> {
        let fits = self.names.len() == len;
        Err(self.wants(fits, format!("{len} parts")))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        // A field more than there are parts may be optional; a pattern with none of them is a mistake.
        let fits = self.names.iter().all(|name| fields.contains(&&**name)) && self.names.len() <= fields.len();
        Err(self.wants(fits, format!("{fields:?}")))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        Err(self.one())
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(self.wants(true, String::new()))
    }

    serde::forward_to_deserialize_any! { unit unit_struct seq map ignored_any }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    fn captured<'n>(pattern: &str, name: &'n str) -> Option<Vec<&'n str>> {
        Route::parse(pattern).unwrap().captures(name).map(|captures| captures.to_vec())
    }

    #[test]
    fn parts_end_where_what_follows_is_found_first() {
        for (pattern, name, parts) in [
            ("lobby", "lobby", Some(vec![])),
            ("lobby", "lobby2", None),
            ("game:{id}", "game:7", Some(vec!["7"])),
            ("game:{id}", "game:", None),
            ("game:{id}", "game", None),
            ("game:{id}", "game:7:x", Some(vec!["7:x"])),
            ("{a}:{b}", "x:y:z", Some(vec!["x", "y:z"])),
            ("{a}:{b}", ":y", None),
            ("{a}-end", "x-end-end", Some(vec!["x-end"])),
            ("{a}-end", "-end", None),
            ("{a}-end", "日本-end", Some(vec!["日本"])),
            ("org:{o}:room:{r}", "org:1:room:2", Some(vec!["1", "2"])),
            ("feed:*", "feed:", Some(vec![])),
            ("*:{kind}", "a:b", Some(vec!["b"])),
        ] {
            assert_eq!(captured(pattern, name), parts, "{pattern} {name}");
        }
    }

    #[test]
    fn patterns_that_say_nothing_clear_are_refused() {
        for (pattern, problem) in [
            ("", RouteProblem::Empty),
            ("a{", RouteProblem::Placeholder),
            ("a{}", RouteProblem::Placeholder),
            ("{a}{b}", RouteProblem::Adjacent),
            ("*{b}", RouteProblem::Adjacent),
            ("{a}:{a}", RouteProblem::Duplicate("a".to_owned())),
        ] {
            assert_eq!(Route::parse(pattern).unwrap_err().problem, problem, "{pattern}");
        }
    }

    #[test]
    fn the_rules_know_the_callers_own_channels() {
        for (pattern, rule) in [("game:{id}", "game:*"), ("inbox:{user}:{n}", "inbox:{user}:*"), ("lobby", "lobby")] {
            assert_eq!(Route::parse(pattern).unwrap().pattern().unwrap().as_str(), rule);
        }
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Place {
        org: String,
        room: u32,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct GameId(u64);

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Side {
        Buy,
        Sell,
    }

    fn values<T: DeserializeOwned>(pattern: &str, name: &str) -> Result<T, String> {
        let route = Route::parse(pattern).unwrap();
        route.values(&ChannelName::parse(name).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn parts_are_read_as_the_handlers_type() {
        assert_eq!(values::<()>("lobby", "lobby"), Ok(()));
        assert_eq!(values::<u64>("game:{id}", "game:7"), Ok(7));
        assert_eq!(values::<GameId>("game:{id}", "game:7"), Ok(GameId(7)));
        assert_eq!(values::<String>("game:{id}", "game:7"), Ok("7".to_owned()));
        assert_eq!(values::<(String, u8)>("{a}:{b}", "x:5"), Ok(("x".to_owned(), 5)));
        assert_eq!(values::<Side>("side:{s}", "side:sell"), Ok(Side::Sell));
        let place = Place { org: "o".to_owned(), room: 3 };
        assert_eq!(values::<Place>("{org}:{room}", "o:3"), Ok(place));
        assert!(values::<u64>("game:{id}", "game:x").unwrap_err().contains("invalid digit"));
    }

    #[test]
    fn a_type_of_another_shape_is_noticed_before_anything_is_captured() {
        let check = |pattern: &str, checked: fn(&Route) -> Result<(), RouteError>| {
            checked(&Route::parse(pattern).unwrap()).is_ok()
        };
        assert!(check("game:{id}", Route::check::<u64>));
        assert!(check("game:{id}", Route::check::<GameId>));
        assert!(check("{org}:{room}", Route::check::<Place>));
        assert!(check("{a}:{b}", Route::check::<(String, u8)>));
        assert!(check("lobby", Route::check::<()>));
        assert!(check("game:{id}", Route::check::<()>), "whoever does not care takes nothing");
        assert!(!check("lobby", Route::check::<u64>));
        assert!(!check("{a}:{b}", Route::check::<u64>));
        assert!(!check("{organisation}:{room}", Route::check::<Place>));
        assert!(!check("{a}:{b}", Route::check::<(u8, u8, u8)>));
    }
}
