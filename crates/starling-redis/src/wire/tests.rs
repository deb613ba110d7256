use proptest::prelude::*;
use starling_core::{ChannelName, ConnectionId, MessageId, Payload, Position, RawJson, Target, UserId};

use super::*;

fn app() -> AppId {
    AppId::from("1")
}

fn channel() -> ChannelName {
    ChannelName::parse("room").unwrap()
}

fn messages() -> impl Strategy<Value = Message> {
    let payload = prop_oneof![
        any::<String>().prop_map(|text| Payload::Json(RawJson::of(&text).unwrap())),
        any::<Vec<u8>>().prop_map(|bytes| Payload::Binary(bytes.into())),
    ];
    let words = (any::<String>(), any::<Option<String>>(), any::<Option<String>>(), any::<Option<String>>());
    ("[a-z0-9-]{1,40}", words, payload, any::<u64>()).prop_map(|(id, (event, user, key, exclude), payload, ts)| {
        Message {
            app: app(),
            channel: channel(),
            id: MessageId::new(id),
            event: event.into(),
            payload,
            user: user.map(UserId::new),
            ts,
            position: None,
            key: key.map(Into::into),
            exclude: exclude.map(ConnectionId::new),
        }
    })
}

proptest! {
    #[test]
    fn messages_come_back_as_they_were(message in messages()) {
        prop_assert_eq!(decode_body(&app(), &channel(), None, body(&message).into()).unwrap(), message.clone());
        let ChannelFrame::Passing(body) = decode_channel_frame(passing(&message).into()).unwrap() else {
            panic!("another frame");
        };
        prop_assert_eq!(decode_body(&app(), &channel(), None, body).unwrap(), message);
    }

    #[test]
    fn nothing_that_arrives_panics(bytes in any::<Vec<u8>>()) {
        let with_version = [&[VERSION][..], &bytes].concat();
        for bytes in [Bytes::from(bytes), Bytes::from(with_version)] {
            let _ = decode_channel_frame(bytes.clone());
            let _ = NodeFrame::decode(bytes.clone());
            let _ = decode_body(&app(), &channel(), None, bytes.clone());
            let _ = decode_entry("c", &bytes);
            let _ = decode_told(&bytes);
        }
    }
}

#[test]
fn a_logged_message_is_epoch_offset_and_body() {
    let frame = decode_channel_frame(Bytes::from_static(b"\x01Mabc 17 the body")).unwrap();
    assert_eq!(frame, ChannelFrame::Logged(Epoch::from("abc"), 17, Bytes::from_static(b"the body")));
}

#[test]
fn other_versions_and_other_peoples_bytes_are_told_apart() {
    assert_eq!(decode_channel_frame(Bytes::from_static(b"\x02M")), Err(Unreadable::Version(2)));
    assert_eq!(decode_channel_frame(Bytes::from_static(b"\x01?")), Err(Unreadable::Foreign));
    assert_eq!(NodeFrame::decode(Bytes::from_static(b"hello")), Err(Unreadable::Version(b'h')));
    assert_eq!(NodeFrame::decode(Bytes::new()), Err(Unreadable::Foreign));
}

#[test]
fn orders_and_questions_come_back_as_they_were() {
    let members = Target::Members {
        of: vec![channel()],
        except: vec![],
        except_connections: vec![ConnectionId::from("a"), ConnectionId::from("")],
    };
    let head = Position { epoch: Epoch::from("e"), offset: u64::MAX };
    let origin = || NodeId::from("n");
    for frame in [
        NodeFrame::Control {
            origin: origin(),
            app: app(),
            control: Control::HistoryCleared { channel: channel(), head },
        },
        NodeFrame::Control { origin: origin(), app: app(), control: Control::Disconnect { target: members.clone() } },
        NodeFrame::Survey { origin: origin(), number: 300, app: app(), query: Query::Connections { target: members } },
        NodeFrame::Relay { origin: origin(), number: u64::MAX, request: Bytes::new() },
        NodeFrame::Reply { number: 0, reply: Bytes::from_static(&[0, 255]) },
    ] {
        assert_eq!(NodeFrame::decode(frame.encode().into()).unwrap(), frame);
    }
}
