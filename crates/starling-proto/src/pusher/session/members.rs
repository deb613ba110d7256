//! The presence channels of one client, and as whom it is in them.

use serde::Deserialize;
use serde_json::value::RawValue;
use starling_core::{ChannelName, RawJson, UserId};

use crate::json_text::is_too_deep;
use crate::pusher::{MAX_DEPTH, MAX_USER_ID, wire};

/// Few: a list is searched as quickly as anything.
#[derive(Debug, Default)]
pub(super) struct Presences(Vec<Presence>);

#[derive(Debug)]
struct Presence {
    channel: ChannelName,
    user: UserId,
    step: Step,
}

/// The client is told of its membership when both are there, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    AwaitReply,
    AwaitState { is_missed: bool },
    Present,
}

impl Presences {
    pub fn has(&self, channel: &ChannelName) -> bool {
        self.0.iter().any(|presence| presence.channel == *channel)
    }

    /// As whom the client is in the channel.
    pub fn user(&self, channel: &ChannelName) -> Option<&UserId> {
        self.0.iter().find(|presence| presence.channel == *channel).map(|presence| &presence.user)
    }

    pub fn join(&mut self, channel: ChannelName, user: UserId) {
        self.0.push(Presence { channel, user, step: Step::AwaitReply });
    }

    pub fn leave(&mut self, channel: &ChannelName) {
        self.0.retain(|presence| presence.channel != *channel);
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
    }

    /// The client is a member. Whether it is told when it is known who else is.
    pub fn confirm(&mut self, channel: &ChannelName, is_missed: bool) -> bool {
        match self.0.iter_mut().find(|presence| presence.channel == *channel) {
            Some(presence) => {
                presence.step = Step::AwaitState { is_missed };
                true
            }
            None => false,
        }
    }

    /// The client was told who is there. Whether there was no last event to give to it.
    pub fn told(&mut self, channel: &ChannelName) -> bool {
        let Some(presence) = self.0.iter_mut().find(|presence| presence.channel == *channel) else {
            return false;
        };
        matches!(std::mem::replace(&mut presence.step, Step::Present), Step::AwaitState { is_missed: true })
    }
}

#[derive(Deserialize)]
struct ChannelData<'a> {
    #[serde(borrow)]
    user_id: &'a RawValue,
    #[serde(borrow)]
    user_info: Option<&'a RawValue>,
}

/// The user whom `channel_data` names, and its presence data.
pub(super) fn of_channel_data(text: &str) -> Result<(UserId, RawJson), String> {
    let data: ChannelData<'_> =
        serde_json::from_str(text).map_err(|_| "channel_data is a JSON object with a user_id".to_owned())?;
    let user = user_id(data.user_id)?;
    Ok((user, info(data.user_info)?))
}

/// An id, which some servers write as a number.
pub(super) fn user_id(id: &RawValue) -> Result<UserId, String> {
    let id = id.get();
    let text = match id.starts_with('"') {
        true => serde_json::from_str::<String>(id).map_err(|_| "user ids are strings".to_owned())?,
        false if id.parse::<f64>().is_ok() => id.to_owned(),
        false => return Err("user ids are strings".into()),
    };
    if text.is_empty() || text.len() > MAX_USER_ID || text.contains(char::is_control) {
        return Err(format!("user ids have 1 to {MAX_USER_ID} bytes and no control characters"));
    }
    Ok(UserId::new(text))
}

/// Presence data of what is known of a user.
pub(super) fn info(user_info: Option<&RawValue>) -> Result<RawJson, String> {
    let data = wire::presence_data(user_info.map(RawValue::get));
    if is_too_deep(data.bytes(), MAX_DEPTH) { Err("user_info is nested too deeply".into()) } else { Ok(data) }
}
