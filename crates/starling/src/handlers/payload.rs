//! What clients send and are answered, as typed values.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use starling_core::{ErrorCode, Payload, RawJson, Refusal};

/// A value that a handler takes from what a client sent.
///
/// Every type that serde can deserialise is one, from JSON; [`Binary`] takes bytes, and [`Raw`] whatever came. A type
/// of your own that serde does not know can be one as well, such as the frames of a binary protocol:
///
/// ```
/// use starling::core::{ErrorCode, Payload, Refusal};
/// use starling::handlers::FromPayload;
///
/// enum Frame {
///     Move { x: u8, y: u8 },
///     Stop,
/// }
///
/// impl FromPayload for Frame {
///     fn from_payload(payload: &Payload) -> Result<Self, Refusal> {
///         match payload {
///             Payload::Binary(bytes) => match &bytes[..] {
///                 [1, x, y] => Ok(Self::Move { x: *x, y: *y }),
///                 [2] => Ok(Self::Stop),
///                 _ => Err(Refusal::new(ErrorCode::InvalidMessage, "no such frame")),
///             },
///             Payload::Json(_) => Err(Refusal::new(ErrorCode::InvalidMessage, "a frame is bytes")),
///         }
///     }
/// }
/// # assert!(Frame::from_payload(&Payload::Binary(vec![2].into())).is_ok());
/// ```
#[diagnostic::on_unimplemented(
    message = "a handler cannot take `{Self}` from what a client sends",
    note = "derive `serde::Deserialize` for it, take `Binary` or `Raw`, or implement `FromPayload`"
)]
pub trait FromPayload: Sized {
    /// Reads the value.
    ///
    /// # Errors
    /// What the client is answered when it is none: usually `INVALID_MESSAGE`.
    fn from_payload(payload: &Payload) -> Result<Self, Refusal>;
}

/// A value that clients are sent: a reply, or what a message carries.
///
/// Every type that serde can serialise is one, as JSON; [`Binary`] is sent as bytes, and [`Raw`] as it is.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent to a client",
    note = "derive `serde::Serialize` for it, wrap it in `Binary` or `Raw`, or implement `IntoPayload`"
)]
pub trait IntoPayload: Sized {
    /// Writes the value.
    ///
    /// # Errors
    /// `INTERNAL`, when it does not serialise.
    fn into_payload(self) -> Result<Payload, Refusal>;
}

impl<T: DeserializeOwned> FromPayload for T {
    fn from_payload(payload: &Payload) -> Result<Self, Refusal> {
        match payload {
            Payload::Json(json) => {
                serde_json::from_str(json.as_str()).map_err(|error| invalid(format!("payload: {error}")))
            }
            Payload::Binary(_) => Err(invalid("payload: JSON is expected here, not bytes".to_owned())),
        }
    }
}

impl<T: Serialize> IntoPayload for T {
    fn into_payload(self) -> Result<Payload, Refusal> {
        match RawJson::of(&self) {
            Ok(json) => Ok(Payload::Json(json)),
            Err(error) => {
                tracing::error!(%error, kind = std::any::type_name::<T>(), "a value does not serialise");
                Err(Refusal::new(ErrorCode::Internal, "the answer could not be written"))
            }
        }
    }
}

/// Bytes, as payload. Protocols that cannot carry bytes give them as base64.
///
/// ```
/// use starling::core::Payload;
/// use starling::handlers::{Binary, FromPayload};
///
/// let Binary(bytes) = Binary::from_payload(&Payload::Binary(vec![1, 2].into())).unwrap();
/// assert_eq!(&bytes[..], [1, 2]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary(pub Bytes);

impl FromPayload for Binary {
    fn from_payload(payload: &Payload) -> Result<Self, Refusal> {
        match payload {
            Payload::Binary(bytes) => Ok(Self(bytes.clone())),
            Payload::Json(_) => Err(invalid("payload: bytes are expected here, not JSON".to_owned())),
        }
    }
}

impl IntoPayload for Binary {
    fn into_payload(self) -> Result<Payload, Refusal> {
        Ok(Payload::Binary(self.0))
    }
}

/// A payload as it came, or as it is to go: nothing is parsed or written anew, numbers keep their digits.
///
/// ```
/// use starling::core::{Payload, RawJson};
/// use starling::handlers::{IntoPayload, Raw};
///
/// let digits = Payload::Json(RawJson::parse("12345678901234567890.10").unwrap());
/// assert_eq!(Raw(digits.clone()).into_payload(), Ok(digits));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw(pub Payload);

impl FromPayload for Raw {
    fn from_payload(payload: &Payload) -> Result<Self, Refusal> {
        Ok(Self(payload.clone()))
    }
}

impl IntoPayload for Raw {
    fn into_payload(self) -> Result<Payload, Refusal> {
        Ok(self.0)
    }
}

fn invalid(message: String) -> Refusal {
    Refusal::new(ErrorCode::InvalidMessage, message)
}
