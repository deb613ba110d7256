//! Values to MessagePack, each in its shortest form.

use rmp::encode;
use starling_core::{Payload, RawJson};

use super::from_json;
use crate::native::compose::Writer;

/// Appends values to a buffer.
pub(in crate::native) struct MsgpackWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> MsgpackWriter<'a> {
    pub(in crate::native) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }
}

/// A length on the wire. What is encoded was received before, under a limit far below 4 GiB.
pub(super) fn length(len: usize) -> u32 {
    u32::try_from(len).expect("lengths fit into 32 bits")
}

pub(super) const INFALLIBLE: &str = "a buffer in memory takes everything";

impl Writer for MsgpackWriter<'_> {
    fn begin_object(&mut self, members: usize) {
        encode::write_map_len(self.out, length(members)).expect(INFALLIBLE);
    }

    fn end_object(&mut self) {}

    fn begin_array(&mut self, elements: usize) {
        encode::write_array_len(self.out, length(elements)).expect(INFALLIBLE);
    }

    fn end_array(&mut self) {}

    fn name(&mut self, name: &'static str) {
        self.text(name);
    }

    fn text(&mut self, text: &str) {
        encode::write_str(self.out, text).expect(INFALLIBLE);
    }

    fn number(&mut self, number: u64) {
        encode::write_uint(self.out, number).expect(INFALLIBLE);
    }

    fn boolean(&mut self, value: bool) {
        encode::write_bool(self.out, value).expect(INFALLIBLE);
    }

    fn null(&mut self) {
        encode::write_nil(self.out).expect(INFALLIBLE);
    }

    fn json(&mut self, json: &RawJson) {
        from_json::transcode(self.out, json.as_str());
    }

    fn written(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn payload(&mut self, payload: &Payload) {
        self.name("payload");
        match payload {
            Payload::Json(json) => self.json(json),
            Payload::Binary(bytes) => encode::write_bin(self.out, bytes).expect(INFALLIBLE),
        }
    }
}
