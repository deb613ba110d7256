//! How engines write the words of the core for a broker: lengths before texts, numbers as LEB128, one byte of version
//! first.
//!
//! Whatever cannot be read is foreign: [`Foreign`] says so, nothing is guessed. What an engine stores beside these words
//! is its own, written with [`fields!`] and [`variants!`].

mod acts;
mod messages;

use std::sync::Arc;

use bytes::Buf;
#[doc(hidden)]
pub use bytes::Bytes;
use thiserror::Error;

/// The first byte of everything. Another one: a newer version of Starling, or somebody else's data.
const VERSION: u8 = 1;

/// Bytes that are not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("data that Starling did not write")]
pub struct Foreign;

/// Something that is written for the broker.
pub trait Wire: Sized {
    /// Appends it.
    fn write(&self, out: &mut Vec<u8>);

    /// Takes it from the front of `input`.
    ///
    /// # Errors
    /// [`Foreign`] when that is something else, or cut off.
    fn read(input: &mut Bytes) -> Result<Self, Foreign>;

    /// It alone, after the version.
    fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        self.write(&mut out);
        out.into()
    }

    /// What [`Wire::encode`] made.
    ///
    /// # Errors
    /// [`Foreign`] when it is of another version, something else, cut off or followed by more.
    fn decode(bytes: &Bytes) -> Result<Self, Foreign> {
        let mut input = bytes.clone();
        if u8::read(&mut input)? != VERSION {
            return Err(Foreign);
        }
        let value = Self::read(&mut input)?;
        if input.is_empty() { Ok(value) } else { Err(Foreign) }
    }
}

impl Wire for u8 {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    fn read(input: &mut Bytes) -> Result<Self, Foreign> {
        if input.is_empty() { Err(Foreign) } else { Ok(input.get_u8()) }
    }
}

impl Wire for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        let mut rest = *self;
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }

    fn read(input: &mut Bytes) -> Result<Self, Foreign> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = u8::read(input)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Foreign)
    }
}

impl Wire for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn read(input: &mut Bytes) -> Result<Self, Foreign> {
        Ok(u8::read(input)? != 0)
    }
}

impl Wire for Bytes {
    fn write(&self, out: &mut Vec<u8>) {
        (self.len() as u64).write(out);
        out.extend_from_slice(self);
    }

    fn read(input: &mut Bytes) -> Result<Self, Foreign> {
        let length = usize::try_from(u64::read(input)?).map_err(|_| Foreign)?;
        if length > input.len() { Err(Foreign) } else { Ok(input.split_to(length)) }
    }
}

impl Wire for Arc<str> {
    fn write(&self, out: &mut Vec<u8>) {
        (self.len() as u64).write(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn read(input: &mut Bytes) -> Result<Self, Foreign> {
        let bytes = Bytes::read(input)?;
        std::str::from_utf8(&bytes).map(Arc::from).map_err(|_| Foreign)
    }
}

impl Wire for String {
    fn write(&self, out: &mut Vec<u8>) {
        (self.len() as u64).write(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn read(input: &mut Bytes) -> Result<Self, Foreign> {
        String::from_utf8(Bytes::read(input)?.to_vec()).map_err(|_| Foreign)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        self.is_some().write(out);
        if let Some(value) = self {
            value.write(out);
        }
    }

    fn read(input: &mut Bytes) -> Result<Self, Foreign> {
        if bool::read(input)? { T::read(input).map(Some) } else { Ok(None) }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        (self.len() as u64).write(out);
        self.iter().for_each(|value| value.write(out));
    }

    fn read(input: &mut Bytes) -> Result<Self, Foreign> {
        let count = u64::read(input)?;
        // Each takes a byte at least: a wrong count costs no memory.
        if count > input.len() as u64 {
            return Err(Foreign);
        }
        (0..count).map(|_| T::read(input)).collect()
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }

    fn read(input: &mut Bytes) -> Result<Self, Foreign> {
        Ok((A::read(input)?, B::read(input)?))
    }
}

/// Names are written as their texts.
macro_rules! names {
    ($($name:ty),*) => {$(
        impl Wire for $name {
            fn write(&self, out: &mut Vec<u8>) {
                let text = self.as_str();
                (text.len() as u64).write(out);
                out.extend_from_slice(text.as_bytes());
            }

            fn read(input: &mut Bytes) -> Result<Self, Foreign> {
                Ok(Self::new(<Arc<str>>::read(input)?))
            }
        }
    )*};
}

names!(
    starling_core::AppId,
    starling_core::UserId,
    starling_core::ConnectionId,
    starling_core::MessageId,
    starling_core::Epoch,
    starling_core::NodeId
);

impl Wire for starling_core::ChannelName {
    fn write(&self, out: &mut Vec<u8>) {
        (self.as_str().len() as u64).write(out);
        out.extend_from_slice(self.as_str().as_bytes());
    }

    fn read(input: &mut Bytes) -> Result<Self, Foreign> {
        Self::parse(&<Arc<str>>::read(input)?).map_err(|_| Foreign)
    }
}

/// Structs are written field by field: `fields! { Head { epoch, offset } }`.
#[macro_export]
macro_rules! fields {
    ($($name:ty { $($field:ident),* })*) => {$(
        impl $crate::Wire for $name {
            fn write(&self, out: &mut Vec<u8>) {
                $($crate::Wire::write(&self.$field, out);)*
            }

            fn read(input: &mut $crate::Bytes) -> Result<Self, $crate::Foreign> {
                $(let $field = $crate::Wire::read(input)?;)*
                Ok(Self { $($field),* })
            }
        }
    )*};
}

/// Enums are written as a number and the fields of the variant: `variants! { Act { 0 => Begin { at } 1 => End {} } }`.
#[macro_export]
macro_rules! variants {
    ($($name:ty { $($number:literal => $variant:ident { $($field:ident),* })* })*) => {$(
        impl $crate::Wire for $name {
            fn write(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant { $($field),* } => {
                        out.push($number);
                        $($crate::Wire::write($field, out);)*
                    })*
                }
            }

            fn read(input: &mut $crate::Bytes) -> Result<Self, $crate::Foreign> {
                match <u8 as $crate::Wire>::read(input)? {
                    $($number => {
                        $(let $field = $crate::Wire::read(input)?;)*
                        Ok(Self::$variant { $($field),* })
                    })*
                    _ => Err($crate::Foreign),
                }
            }
        }
    )*};
}
