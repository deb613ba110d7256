//! Questions to all nodes, and their answers.

use starling_core::{Answer, ConnectionId, Occupancy, Query, Survey, UserId};

use super::Unreadable;
use super::bytes::{Reader, Writer};
use super::control::{channel, decode_target, encode_target};

pub(super) fn encode_query(query: &Query, writer: &mut Writer) {
    match query {
        Query::Channels { prefix } => {
            writer.byte(1);
            writer.text(prefix);
        }
        Query::Channel { channel } => {
            writer.byte(2);
            writer.text(channel.as_str());
        }
        Query::Connection { connection } => {
            writer.byte(3);
            writer.text(connection.as_str());
        }
        Query::Connections { target } => {
            writer.byte(4);
            encode_target(target, writer);
        }
        Query::Stats => writer.byte(5),
    }
}

pub(super) fn decode_query(reader: &mut Reader) -> Result<Query, Unreadable> {
    match reader.byte()? {
        1 => Ok(Query::Channels { prefix: reader.text()? }),
        2 => Ok(Query::Channel { channel: channel(reader)? }),
        3 => Ok(Query::Connection { connection: ConnectionId::new(reader.text()?) }),
        4 => Ok(Query::Connections { target: decode_target(reader)? }),
        5 => Ok(Query::Stats),
        _ => Err(Unreadable::Foreign),
    }
}

pub(super) fn encode_answer(answer: &Answer, writer: &mut Writer) {
    match answer {
        Answer::Channels(channels) => {
            writer.byte(1);
            writer.list(channels, |(channel, occupancy), writer| {
                writer.text(channel.as_str());
                writer.number(occupancy.members);
                writer.list(&occupancy.users, |user, writer| writer.text(user.as_str()));
            });
        }
        Answer::Connection(survey) => {
            writer.byte(2);
            writer.list(survey.as_slice(), encode_survey);
        }
        Answer::Connections(surveys) => {
            writer.byte(3);
            writer.list(surveys, encode_survey);
        }
        Answer::Stats { connections, channels, members } => {
            writer.byte(4);
            [connections, channels, members].into_iter().for_each(|number| writer.number(*number));
        }
    }
}

pub(super) fn decode_answer(reader: &mut Reader) -> Result<Answer, Unreadable> {
    match reader.byte()? {
        1 => reader
            .list(|reader| {
                let channel = channel(reader)?;
                let members = reader.number()?;
                let users = reader.list(|reader| reader.text().map(UserId::new))?;
                Ok((channel, Occupancy { members, users }))
            })
            .map(Answer::Channels),
        2 => Ok(Answer::Connection(reader.list(decode_survey)?.pop())),
        3 => reader.list(decode_survey).map(Answer::Connections),
        4 => Ok(Answer::Stats { connections: reader.number()?, channels: reader.number()?, members: reader.number()? }),
        _ => Err(Unreadable::Foreign),
    }
}

fn encode_survey(survey: &Survey, writer: &mut Writer) {
    writer.text(survey.connection.as_str());
    writer.optional(survey.user.as_ref().map(UserId::as_str));
    writer.text(&survey.protocol);
    writer.list(&survey.channels, |channel, writer| writer.text(channel.as_str()));
    writer.number(survey.connected_at);
}

fn decode_survey(reader: &mut Reader) -> Result<Survey, Unreadable> {
    Ok(Survey {
        connection: ConnectionId::new(reader.text()?),
        user: reader.optional()?.map(UserId::new),
        protocol: reader.text()?,
        channels: reader.list(channel)?,
        connected_at: reader.number()?,
    })
}
