//! What a request under way will be answered with: the client's references, kept in the request's tag.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use starling_core::Tag;

/// A request that the client waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pending {
    pub kind: Kind,
    /// JSON text, as the two below.
    pub join_ref: Bytes,
    pub reference: Bytes,
    /// With a join: the reference to the join that it replaces, which is closed afterwards; empty if there is none.
    pub replaced: Bytes,
    pub topic: Bytes,
}

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Join,
    /// A join that wants to know its position.
    JoinAt,
    Leave,
    Push,
    /// The token of a join that follows.
    Token,
    /// Something that the session asks for itself.
    Own,
}

impl Pending {
    pub fn new(kind: Kind, join_ref: &str, reference: &str, topic: &str) -> Self {
        let copy = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let (join_ref, reference, topic) = (copy(join_ref), copy(reference), copy(topic));
        Self { kind, join_ref, reference, replaced: Bytes::new(), topic }
    }

    pub fn to_tag(&self) -> Tag {
        let lengths = 7 + self.join_ref.len() + self.reference.len() + self.replaced.len() + self.topic.len();
        let mut tag = BytesMut::with_capacity(lengths);
        tag.put_u8(self.kind as u8);
        for part in [&self.join_ref, &self.reference, &self.replaced] {
            // References were measured when they came in.
            tag.put_u16(part.len() as u16);
            tag.put_slice(part);
        }
        tag.put_slice(&self.topic);
        Tag(tag.freeze())
    }

    pub fn of(tag: &Tag) -> Self {
        let mut rest = tag.0.clone();
        if rest.is_empty() {
            // The transport asked for the session.
            return Self::new(Kind::Own, "", "", "");
        }
        let kind = match rest.get_u8() {
            0 => Kind::Join,
            1 => Kind::JoinAt,
            2 => Kind::Leave,
            3 => Kind::Push,
            4 => Kind::Token,
            _ => Kind::Own,
        };
        let mut part = || {
            let len = usize::from(rest.get_u16());
            rest.split_to(len)
        };
        let (join_ref, reference, replaced) = (part(), part(), part());
        Self { kind, join_ref, reference, replaced, topic: rest }
    }

    pub fn join_ref(&self) -> &str {
        text(&self.join_ref)
    }

    pub fn reference(&self) -> &str {
        text(&self.reference)
    }

    pub fn replaced(&self) -> Option<&str> {
        (!self.replaced.is_empty()).then(|| text(&self.replaced))
    }

    pub fn topic(&self) -> &str {
        text(&self.topic)
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("a tag is made of text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_brings_everything_back() {
        for kind in [Kind::Join, Kind::JoinAt, Kind::Leave, Kind::Push, Kind::Token, Kind::Own] {
            let mut pending = Pending::new(kind, "\"1\"", "null", "room:a");
            pending.replaced = Bytes::from_static(b"7");
            assert_eq!(Pending::of(&pending.to_tag()), pending);
        }
    }
}
