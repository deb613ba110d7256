//! MessagePack to fields. Every value stays a slice of the bytes.

use std::borrow::Cow;

use bytes::Bytes;
use rmp::Marker;
use starling_core::{Payload, RawJson};

use super::to_json;
use crate::native::fields::{Fields, Malformed, Name, Value};

/// Splits one map into its fields, and checks that the bytes are one complete value.
pub(in crate::native) fn fields(bytes: &[u8]) -> Result<Fields<MsgpackValue<'_>>, Malformed> {
    let mut reader = Reader { bytes };
    let split = reader.split_map().ok_or(Malformed::Syntax)?;
    if !reader.bytes.is_empty() {
        return Err(Malformed::Syntax);
    }
    split.ok_or(Malformed::NotAnObject)
}

/// How a value begins. Lengths are what the peer declares, and not yet believed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Head {
    Nil,
    Boolean(bool),
    Unsigned(u64),
    /// Below zero.
    Signed(i64),
    Float(f64),
    Text(usize),
    Bytes(usize),
    Array(usize),
    Map(usize),
    Extension(usize),
}

/// The bytes that are still to be read. Every method returns none when they end too early or mean nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn number<const N: usize>(&mut self) -> Option<u64> {
        Some(self.array::<N>()?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn len<const N: usize>(&mut self) -> Option<usize> {
        usize::try_from(self.number::<N>()?).ok()
    }

    pub(super) fn head(&mut self) -> Option<Head> {
        Some(match Marker::from_u8(self.array::<1>()?[0]) {
            Marker::Null => Head::Nil,
            Marker::True => Head::Boolean(true),
            Marker::False => Head::Boolean(false),
            Marker::FixPos(number) => Head::Unsigned(u64::from(number)),
            Marker::U8 => Head::Unsigned(self.number::<1>()?),
            Marker::U16 => Head::Unsigned(self.number::<2>()?),
            Marker::U32 => Head::Unsigned(self.number::<4>()?),
            Marker::U64 => Head::Unsigned(self.number::<8>()?),
            Marker::FixNeg(number) => signed(i64::from(number)),
            Marker::I8 => signed(i64::from(i8::from_be_bytes(self.array()?))),
            Marker::I16 => signed(i64::from(i16::from_be_bytes(self.array()?))),
            Marker::I32 => signed(i64::from(i32::from_be_bytes(self.array()?))),
            Marker::I64 => signed(i64::from_be_bytes(self.array()?)),
            Marker::F32 => Head::Float(f64::from(f32::from_be_bytes(self.array()?))),
            Marker::F64 => Head::Float(f64::from_be_bytes(self.array()?)),
            Marker::FixStr(len) => Head::Text(usize::from(len)),
            Marker::Str8 => Head::Text(self.len::<1>()?),
            Marker::Str16 => Head::Text(self.len::<2>()?),
            Marker::Str32 => Head::Text(self.len::<4>()?),
            Marker::Bin8 => Head::Bytes(self.len::<1>()?),
            Marker::Bin16 => Head::Bytes(self.len::<2>()?),
            Marker::Bin32 => Head::Bytes(self.len::<4>()?),
            Marker::FixArray(len) => Head::Array(usize::from(len)),
            Marker::Array16 => Head::Array(self.len::<2>()?),
            Marker::Array32 => Head::Array(self.len::<4>()?),
            Marker::FixMap(len) => Head::Map(usize::from(len)),
            Marker::Map16 => Head::Map(self.len::<2>()?),
            Marker::Map32 => Head::Map(self.len::<4>()?),
            // The length does not count the byte that says which type it is.
            Marker::FixExt1 => Head::Extension(2),
            Marker::FixExt2 => Head::Extension(3),
            Marker::FixExt4 => Head::Extension(5),
            Marker::FixExt8 => Head::Extension(9),
            Marker::FixExt16 => Head::Extension(17),
            Marker::Ext8 => Head::Extension(self.len::<1>()? + 1),
            Marker::Ext16 => Head::Extension(self.len::<2>()? + 1),
            Marker::Ext32 => Head::Extension(self.len::<4>()?.checked_add(1)?),
            Marker::Reserved => return None,
        })
    }

    /// Passes over one value, however deep, without recursion.
    fn skip(&mut self) -> Option<&'a [u8]> {
        let start = self.bytes;
        let mut left = 1_usize;
        while left > 0 {
            left -= 1;
            let inside = match self.head()? {
                Head::Text(len) | Head::Bytes(len) | Head::Extension(len) => {
                    self.take(len)?;
                    0
                }
                Head::Array(len) => len,
                Head::Map(len) => len.checked_mul(2)?,
                Head::Nil | Head::Boolean(_) | Head::Unsigned(_) | Head::Signed(_) | Head::Float(_) => 0,
            };
            left = left.checked_add(inside)?;
            // Each value has at least one byte, so that more cannot be there.
            if left > self.bytes.len() {
                return None;
            }
        }
        Some(&start[..start.len() - self.bytes.len()])
    }

    /// Passes over one value, and gives its fields if it is a map with strings as keys.
    fn split_map(&mut self) -> Option<Option<Fields<MsgpackValue<'a>>>> {
        let mut inside = *self;
        let Head::Map(members) = inside.head()? else {
            return self.skip().map(|_| None);
        };
        *self = inside;
        let mut fields = Some(Fields::new());
        for _ in 0..members {
            let key = MsgpackValue(self.skip()?);
            let value = MsgpackValue(self.skip()?);
            match (key.str(), &mut fields) {
                (Some(key), Some(fields)) => {
                    if let Some(name) = Name::of(key) {
                        fields.put(name, value);
                    }
                }
                (None, _) => fields = None,
                (_, None) => {}
            }
        }
        Some(fields)
    }
}

fn signed(number: i64) -> Head {
    u64::try_from(number).map_or(Head::Signed(number), Head::Unsigned)
}

/// The bytes of one complete value.
#[derive(Debug, Clone, Copy)]
pub(in crate::native) struct MsgpackValue<'a>(&'a [u8]);

impl<'a> MsgpackValue<'a> {
    fn open(self) -> Option<(Head, Reader<'a>)> {
        let mut reader = Reader { bytes: self.0 };
        Some((reader.head()?, reader))
    }

    fn str(self) -> Option<&'a str> {
        match self.open()? {
            (Head::Text(_), content) => simdutf8::basic::from_utf8(content.bytes).ok(),
            _ => None,
        }
    }
}

impl<'a> Value<'a> for MsgpackValue<'a> {
    fn is_null(self) -> bool {
        matches!(self.open(), Some((Head::Nil, _)))
    }

    fn text(self) -> Option<Cow<'a, str>> {
        self.str().map(Cow::Borrowed)
    }

    fn unsigned(self) -> Option<u64> {
        match self.open()? {
            (Head::Unsigned(number), _) => Some(number),
            _ => None,
        }
    }

    fn boolean(self) -> Option<bool> {
        match self.open()? {
            (Head::Boolean(value), _) => Some(value),
            _ => None,
        }
    }

    fn reference(self) -> Option<(&'a [u8], usize)> {
        match self.open()? {
            (Head::Text(len), _) => self.str().map(|_| (self.0, len)),
            (Head::Unsigned(_) | Head::Signed(_) | Head::Float(_), _) => Some((self.0, self.0.len())),
            _ => None,
        }
    }

    fn members(self) -> Option<Fields<Self>> {
        fields(self.0).ok()
    }

    fn json(self) -> Result<RawJson, &'static str> {
        to_json::transcode(Reader { bytes: self.0 }).map(RawJson::from_valid)
    }

    fn payload(self) -> Result<Payload, &'static str> {
        match self.open() {
            Some((Head::Bytes(_), content)) => Ok(Payload::Binary(Bytes::copy_from_slice(content.bytes))),
            _ => self.json().map(Payload::Json),
        }
    }
}
