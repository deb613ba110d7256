//! What nodes tell and ask each other, and what they answer.

use bytes::Bytes;
use starling_core::{Answer, Control, Occupancy, Position, Query, Survey, Target};

use crate::{Foreign, Wire, fields, variants};

fields! {
    Position { epoch, offset }
    Occupancy { members, users }
    Survey { connection, user, protocol, channels, connected_at }
}

variants! {
    Control {
        0 => Disconnect { target }
        1 => Revoke { user, before }
        2 => Subscribe { target, channel }
        3 => Unsubscribe { target, channel }
        4 => Emit { target, channel, event, payload }
        5 => HistoryCleared { channel, head }
    }
    Query {
        0 => Channels { prefix }
        1 => Channel { channel }
        2 => Connection { connection }
        3 => Connections { target }
        4 => Stats {}
    }
}

impl Wire for Target {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Connection(connection) => {
                out.push(0);
                connection.write(out);
            }
            Self::User(user) => {
                out.push(1);
                user.write(out);
            }
            Self::Members { of, except, except_connections } => {
                out.push(2);
                of.write(out);
                except.write(out);
                except_connections.write(out);
            }
        }
    }

    fn read(input: &mut Bytes) -> Result<Self, Foreign> {
        Ok(match u8::read(input)? {
            0 => Self::Connection(Wire::read(input)?),
            1 => Self::User(Wire::read(input)?),
            2 => Self::Members {
                of: Wire::read(input)?,
                except: Wire::read(input)?,
                except_connections: Wire::read(input)?,
            },
            _ => return Err(Foreign),
        })
    }
}

impl Wire for Answer {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Channels(channels) => {
                out.push(0);
                channels.write(out);
            }
            Self::Connection(survey) => {
                out.push(1);
                survey.write(out);
            }
            Self::Connections(surveys) => {
                out.push(2);
                surveys.write(out);
            }
            Self::Stats { connections, channels, members } => {
                out.push(3);
                connections.write(out);
                channels.write(out);
                members.write(out);
            }
        }
    }

    fn read(input: &mut Bytes) -> Result<Self, Foreign> {
        Ok(match u8::read(input)? {
            0 => Self::Channels(Wire::read(input)?),
            1 => Self::Connection(Wire::read(input)?),
            2 => Self::Connections(Wire::read(input)?),
            3 => Self::Stats {
                connections: Wire::read(input)?,
                channels: Wire::read(input)?,
                members: Wire::read(input)?,
            },
            _ => return Err(Foreign),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use starling_core::{ChannelName, ConnectionId, Epoch, Payload, RawJson, UserId};

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
            assert_eq!(Control::decode(&control.encode()), Ok(control));
        }
        let answer = Answer::Channels(vec![(channel, Occupancy { members: 2, users: vec![UserId::from("u")] })]);
        assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
        let query = Query::Stats;
        assert_eq!(Query::decode(&query.encode()), Ok(query));
    }
}
