//! What nodes tell and ask each other: orders to all, and questions.

use starling_core::{AppId, Control, NodeId, Query};

use super::{fields, variants};

/// A message to all nodes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Order {
    /// Something for the hub.
    Control { app: AppId, control: Control },
    /// An entry lingers: whoever is alive when its time is over removes it.
    Linger { app: AppId, channel: starling_core::ChannelName, who: String, until: u64, by: NodeId },
}

/// A question to the other nodes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    pub app: AppId,
    pub query: Query,
    pub by: NodeId,
}

fields! {
    Asked { app, query, by }
}

variants! {
    Order {
        0 => Control { app, control }
        1 => Linger { app, channel, who, until, by }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Wire;
    use starling_core::{
        Answer, ChannelName, ConnectionId, Epoch, Occupancy, Payload, Position, RawJson, Target, UserId,
    };

    #[test]
    fn orders_and_answers_come_back_as_they_were() {
        let channel = ChannelName::parse("c").unwrap();
        let target = Target::Members {
            of: vec![channel.clone()],
            except: vec![],
            except_connections: vec![ConnectionId::from("x")],
        };
        for control in [
            Control::Disconnect { target: target.clone() },
            Control::Revoke { user: UserId::from("u"), before: 9 },
            Control::Emit { target, channel: None, event: "e".into(), payload: Payload::Json(RawJson::null()) },
            Control::HistoryCleared { channel: channel.clone(), head: Position { epoch: Epoch::from("e"), offset: 0 } },
        ] {
            let order = Order::Control { app: AppId::from("1"), control };
            assert_eq!(Order::decode(&order.encode()), Ok(order));
        }
        let answer = Answer::Channels(vec![(channel, Occupancy { members: 2, users: vec![UserId::from("u")] })]);
        assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
        let asked = Asked { app: AppId::from("1"), query: Query::Stats, by: NodeId::from("n") };
        assert_eq!(Asked::decode(&asked.encode()), Ok(asked));
    }
}
