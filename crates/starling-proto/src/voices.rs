//! The one list of all voices: every form in which members of a channel are told what happened.
//!
//! A protocol adds its forms here, one line each; everything else looks them up.

use starling_core::{Form, Outgoing, Protocol};

use crate::phoenix::Serializer;
use crate::session::OwnedPacket;
use crate::{native, phoenix, pusher, socketio};

/// The native protocol's JSON.
pub const NATIVE_JSON: Form = Form(0);
/// The native protocol's MessagePack.
pub const NATIVE_MSGPACK: Form = Form(1);
/// Server-sent events of one channel.
pub const STREAM: Form = Form(2);
/// Server-sent events of one channel, with names.
pub const STREAM_NAMED: Form = Form(3);
/// Server-sent events of several channels: the transport completes them.
pub const STREAM_OPEN: Form = Form(4);
/// Server-sent events of several channels, with names.
pub const STREAM_NAMED_OPEN: Form = Form(5);
/// Socket.IO over Engine.IO.
pub const SOCKETIO: Form = Form(6);
/// Phoenix Channels, serializer 2.0.0.
pub const PHOENIX_V2: Form = Form(7);
/// Phoenix Channels, serializer 1.0.0.
pub const PHOENIX_V1: Form = Form(8);
/// Phoenix Channels, serializer 2.0.0 without binary messages, for long-polling.
pub const PHOENIX_V2_TEXT: Form = Form(9);
/// Pusher Channels.
pub const PUSHER: Form = Form(10);
/// The native protocol's JSON for long-polling.
pub const POLL: Form = Form(13);
/// Phoenix Channels, serializer 2.0.0 with the place of each message.
pub const PHOENIX_V2_META: Form = Form(14);

/// One form, and how it is written.
#[derive(Debug)]
pub struct Voice {
    /// What it is called in logs and metrics; unique.
    pub name: &'static str,
    /// Whose it is.
    pub protocol: Protocol,
    /// Its number.
    pub form: Form,
    /// The WebSocket subprotocol that asks for it, where one does.
    pub subprotocol: Option<&'static str>,
    /// Appends the packets: one of most protocols, several where bytes travel in packets of their own, none where the
    /// protocol has no words for it.
    encode: fn(&Outgoing<'_>, &mut Vec<OwnedPacket>),
}

/// All voices, in the order of their forms.
pub static VOICES: &[Voice] = &[
    Voice {
        name: "native-json",
        protocol: native::PROTOCOL,
        form: NATIVE_JSON,
        subprotocol: Some(native::Encoding::Json.subprotocol()),
        encode: |outgoing, out| out.push(native::json::encode(outgoing)),
    },
    Voice {
        name: "native-msgpack",
        protocol: native::PROTOCOL,
        form: NATIVE_MSGPACK,
        subprotocol: Some(native::Encoding::Msgpack.subprotocol()),
        encode: |outgoing, out| out.push(native::msgpack::encode(outgoing)),
    },
    Voice {
        name: "sse",
        protocol: native::STREAM_PROTOCOL,
        form: STREAM,
        subprotocol: None,
        encode: native::encode_single,
    },
    Voice {
        name: "sse-named",
        protocol: native::STREAM_PROTOCOL,
        form: STREAM_NAMED,
        subprotocol: None,
        encode: native::encode_single_named,
    },
    Voice {
        name: "sse-open",
        protocol: native::STREAM_PROTOCOL,
        form: STREAM_OPEN,
        subprotocol: None,
        encode: native::encode_open,
    },
    Voice {
        name: "sse-named-open",
        protocol: native::STREAM_PROTOCOL,
        form: STREAM_NAMED_OPEN,
        subprotocol: None,
        encode: native::encode_open_named,
    },
    Voice {
        name: "socketio",
        protocol: socketio::PROTOCOL,
        form: SOCKETIO,
        subprotocol: None,
        encode: socketio::encode,
    },
    Voice {
        name: "phoenix-v2",
        protocol: phoenix::PROTOCOL,
        form: PHOENIX_V2,
        subprotocol: None,
        encode: |outgoing, out| phoenix::encode(Serializer::V2, outgoing, out),
    },
    Voice {
        name: "phoenix-v1",
        protocol: phoenix::PROTOCOL,
        form: PHOENIX_V1,
        subprotocol: None,
        encode: |outgoing, out| phoenix::encode(Serializer::V1, outgoing, out),
    },
    Voice {
        name: "phoenix-v2-text",
        protocol: phoenix::PROTOCOL,
        form: PHOENIX_V2_TEXT,
        subprotocol: None,
        encode: |outgoing, out| phoenix::encode(Serializer::V2Text, outgoing, out),
    },
    Voice { name: "pusher", protocol: pusher::PROTOCOL, form: PUSHER, subprotocol: None, encode: pusher::encode },
    Voice {
        name: "native-poll",
        protocol: native::POLL_PROTOCOL,
        form: POLL,
        subprotocol: None,
        encode: |outgoing, out| out.push(native::json::encode(outgoing)),
    },
    Voice {
        name: "phoenix-v2-meta",
        protocol: phoenix::PROTOCOL,
        form: PHOENIX_V2_META,
        subprotocol: None,
        encode: |outgoing, out| phoenix::encode(Serializer::V2Meta, outgoing, out),
    },
];

/// The voice of a form.
///
/// # Panics
/// When `form` is none of the constants of this module.
pub fn voice_of(form: Form) -> &'static Voice {
    VOICES.iter().find(|voice| voice.form == form).expect("every form is one of this module's constants")
}

/// Writes what members of a channel get alike, once for all connections of this form.
///
/// # Panics
/// When `form` is none of the constants of this module.
pub fn encode(form: Form, outgoing: &Outgoing<'_>, out: &mut Vec<OwnedPacket>) {
    (voice_of(form).encode)(outgoing, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_names_are_unique_and_in_order() {
        for pair in VOICES.windows(2) {
            assert!(pair[0].form < pair[1].form, "{}", pair[1].name);
        }
        for voice in VOICES {
            assert!(voice.form.0 < 16, "{}: the upper bits belong to the transport", voice.name);
            assert_eq!(voice_of(voice.form).name, voice.name);
        }
    }
}
