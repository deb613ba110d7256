//! What arrives from Redis, on its way to the sink. Runs on the task that reads the connection, so that the order of a
//! channel is the order in which Redis sent it.

use std::sync::Arc;

use bytes::Bytes;
use redis::{PushInfo, PushKind, Value};
use starling_core::{Control, Epoch, Position};

use crate::broker::Shared;
use crate::interest::Heard;
use crate::lane::Lane;
use crate::wire::{self, ChannelFrame, NodeFrame, Unreadable};

/// Takes what the connection for subscriptions brings.
pub(crate) fn pushed(shared: &Arc<Shared>, lane: &Arc<Lane>, generation: u64, info: PushInfo) {
    if !lane.is_current(generation) {
        return;
    }
    let mut data = info.data.into_iter();
    match info.kind {
        PushKind::Message | PushKind::SMessage => {
            let (Some(Value::BulkString(topic)), Some(Value::BulkString(payload))) = (data.next(), data.next()) else {
                return;
            };
            let Ok(topic) = std::str::from_utf8(&topic) else { return };
            arrived(shared, lane, topic, payload.into());
        }
        PushKind::Unsubscribe | PushKind::SUnsubscribe => {
            let Some(Value::BulkString(topic)) = data.next() else { return };
            // Nobody here asked for it: the slot of the topic went to another master.
            if std::str::from_utf8(&topic).is_ok_and(|topic| shared.interest.is_live(topic)) {
                shared.topology.look_again();
                lane.lose(generation);
            }
        }
        PushKind::Disconnection => lane.lose(generation),
        _ => {}
    }
}

fn arrived(shared: &Arc<Shared>, lane: &Lane, topic: &str, payload: Bytes) {
    let done = if topic == shared.control_topic || topic == shared.node_topic {
        NodeFrame::decode(payload).map(|frame| asked(shared, frame))
    } else {
        channel_frame(shared, lane, topic, payload)
    };
    if let Err(error) = done
        && shared.unreadable.admits()
    {
        tracing::warn!(%topic, %error, "a message in Redis is not readable, and is left out");
    }
}

fn asked(shared: &Arc<Shared>, frame: NodeFrame) {
    match frame {
        NodeFrame::Control { origin, app, control } => {
            // Its own orders were carried out when Redis took them.
            if origin != shared.node
                && let Some(sink) = shared.sink()
            {
                sink.control(&app, control);
            }
        }
        NodeFrame::Survey { origin, number, app, query } if origin != shared.node => {
            shared.answer_survey(origin, number, app, query);
        }
        NodeFrame::Survey { .. } => {}
        NodeFrame::Answers { number, answers } => shared.asking.answered(number, answers),
        NodeFrame::Relay { origin, number, request } => shared.answer_relay(origin, number, request),
        NodeFrame::Reply { number, reply } => shared.asking.replied(number, reply),
    }
}

fn channel_frame(shared: &Shared, lane: &Lane, topic: &str, payload: Bytes) -> Result<(), Unreadable> {
    // Before a new connection has caught up, the log has what arrives; without a log there is a gap anyway.
    let is_through = lane.is_up();
    let Some((app, channel)) = shared.interest.channel(topic) else { return Ok(()) };
    let Some(sink) = shared.sink() else { return Ok(()) };
    match wire::decode_channel_frame(payload)? {
        ChannelFrame::Logged(epoch, offset, body) if is_through => {
            let position = Position { epoch: epoch.clone(), offset };
            let message = wire::decode_body(&app, &channel, Some(position), body)?;
            shared.interest.heard(topic, Heard { epoch, offset, id: message.id.clone() });
            sink.message(Arc::new(message));
        }
        ChannelFrame::Passing(body) if is_through => {
            sink.message(Arc::new(wire::decode_body(&app, &channel, None, body)?));
        }
        ChannelFrame::Cleared(epoch) => {
            let head = Position { epoch: Epoch::clone(&epoch), offset: 0 };
            sink.control(&app, Control::HistoryCleared { channel, head });
        }
        ChannelFrame::Presence(told) => {
            if told.origin != shared.node {
                if is_through {
                    sink.presence(wire::event(told, &app, &channel, false));
                }
                return Ok(());
            }
            // What was delivered with the answer to the question is not delivered again.
            if let Some(asker) = shared.presence.arrived(told.token) {
                sink.presence(wire::event(told, &app, &channel, true));
                // Behind the delivery: who asked for the change finds everyone told.
                let _ = asker.send(());
            }
        }
        ChannelFrame::Logged(..) | ChannelFrame::Passing(_) => {}
    }
    Ok(())
}
