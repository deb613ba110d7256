//! What the API and other nodes make this worker's connections do, and what they ask about them.

use starling_core::{
    Answer, AppId, Control, Emission, ErrorCode, Occupancy, Query, Refusal, Subscribe, Survey, Target, UserId,
};

use super::requests::Asker;
use super::*;

impl<T: Endpoint> Shard<T> {
    pub(super) fn control(&mut self, app: &AppId, control: Control, now: Now) {
        self.spoil_lost(app, &control);
        match control {
            Control::Disconnect { target } => {
                for slot in self.targets(app, &target) {
                    self.expel(slot, "disconnected by the application", now);
                }
            }
            Control::Revoke { user, before } => {
                for slot in self.connections_of(app, &user) {
                    let grants = self.get(slot).and_then(|connection| connection.identity.grants.as_ref());
                    let issued_at = grants.and_then(|grants| grants.issued_at);
                    if issued_at.is_none_or(|issued_at| issued_at < before.saturating_mul(1000)) {
                        self.expel(slot, "the token was revoked", now);
                    }
                }
            }
            Control::Subscribe { target, channel } => {
                for slot in self.targets(app, &target) {
                    self.subscribe(slot, Asker::Server, Subscribe::live(channel.clone()), now);
                }
            }
            Control::Emit { target, channel, event, payload } => {
                let notice = Notice::Event { channel, event, payload, ack: None, mark: None };
                for slot in self.targets(app, &target) {
                    self.notify(slot, &notice);
                }
            }
            Control::Unsubscribe { target, channel } => {
                for slot in self.targets(app, &target) {
                    let refusal = Refusal::new(ErrorCode::Forbidden, "unsubscribed by the application");
                    self.end_subscription(slot, &channel, refusal, now);
                }
            }
            Control::HistoryCleared { channel, head } => {
                let key = ChannelRef { app, channel: &channel };
                if let Some(&index) = self.by_name.get(&key) {
                    self.restart_log(index, head, now);
                }
            }
        }
    }

    /// Tells one connection something, if it is here and open.
    pub(super) fn emit(&mut self, app: &AppId, connection: &ConnectionId, emission: Emission) -> bool {
        let Emission { channel, event, payload, ack } = emission;
        let slot = self.find(connection).filter(|slot| self.is_of(*slot, app));
        let Some(slot) = slot.filter(|slot| self.get(*slot).is_some_and(|it| it.closing.is_none())) else {
            return false;
        };
        self.notify(slot, &Notice::Event { channel, event, payload, ack, mark: None });
        true
    }

    /// An error first, then the close.
    fn expel(&mut self, slot: Slot, why: &'static str, now: Now) {
        self.notify(slot, &Notice::Error { refusal: Refusal::new(ErrorCode::Forbidden, why) });
        self.close(slot, CloseReason::Forbidden, now);
    }

    fn connections_of(&self, app: &AppId, user: &UserId) -> Vec<Slot> {
        let channel = ChannelName::of_user(user);
        let index = self.by_name.get(&ChannelRef { app, channel: &channel });
        let members = index.map(|index| self.channels[*index as usize].live.as_slice()).unwrap_or_default();
        // The server side may have made others members of the user's channel.
        let of_user = |member: &&u32| self.connections[**member as usize].identity.user.as_ref() == Some(user);
        members.iter().filter(of_user).map(|member| self.slot(*member)).collect()
    }

    /// Which of this worker's connections are meant, each once.
    fn targets(&self, app: &AppId, target: &Target) -> Vec<Slot> {
        match target {
            Target::Connection(connection) => {
                self.find(connection).filter(|slot| self.is_of(*slot, app)).into_iter().collect()
            }
            Target::User(user) => self.connections_of(app, user),
            Target::Members { of, except, except_connections } => {
                let mut members: Vec<u32> = of.iter().flat_map(|channel| self.members_of(app, channel)).collect();
                members.sort_unstable();
                members.dedup();
                let mut left_out: Vec<u32> = except.iter().flat_map(|channel| self.members_of(app, channel)).collect();
                left_out.extend(except_connections.iter().filter_map(|id| self.by_id.get(id)));
                members.retain(|member| !left_out.contains(member));
                members.into_iter().map(|member| self.slot(member)).collect()
            }
        }
    }

    fn members_of(&self, app: &AppId, channel: &ChannelName) -> Vec<u32> {
        let index = self.by_name.get(&ChannelRef { app, channel });
        index.map(|index| self.channels[*index as usize].members().collect()).unwrap_or_default()
    }

    fn is_of(&self, slot: Slot, app: &AppId) -> bool {
        self.get(slot).is_some_and(|connection| connection.identity.app == *app)
    }

    pub(super) fn answer_query(&self, app: &AppId, query: &Query) -> Answer {
        match query {
            Query::Channels { prefix } => Answer::Channels(
                self.channels
                    .iter()
                    .filter(|(_, channel)| channel.key.app == *app)
                    .filter(|(_, channel)| channel.key.channel.as_str().starts_with(prefix.as_str()))
                    .filter(|(_, channel)| !channel.key.channel.is_reserved() && channel.member_count() > 0)
                    .map(|(_, channel)| (channel.key.channel.clone(), self.occupancy(channel)))
                    .collect(),
            ),
            Query::Channel { channel } => {
                let index = self.by_name.get(&ChannelRef { app, channel });
                let occupancy = index.map(|index| self.occupancy(&self.channels[*index as usize]));
                Answer::Channels(occupancy.map(|occupancy| (channel.clone(), occupancy)).into_iter().collect())
            }
            Query::Connection { connection } => {
                let slot = self.find(connection).filter(|slot| self.is_of(*slot, app));
                Answer::Connection(slot.and_then(|slot| self.survey(slot)))
            }
            Query::Connections { target } => {
                let surveys = self.targets(app, target).into_iter().filter_map(|slot| self.survey(slot));
                Answer::Connections(surveys.collect())
            }
            Query::Stats => {
                let of_app = || self.channels.iter().filter(|(_, channel)| channel.key.app == *app);
                let named = || of_app().filter(|(_, channel)| !channel.key.channel.is_reserved());
                Answer::Stats {
                    connections: self.connections.iter().filter(|(_, c)| c.identity.app == *app).count() as u64,
                    channels: named().filter(|(_, channel)| channel.member_count() > 0).count() as u64,
                    members: named().map(|(_, channel)| channel.member_count() as u64).sum(),
                }
            }
        }
    }

    fn occupancy(&self, channel: &Channel) -> Occupancy {
        let mut users: Vec<UserId> =
            channel.members().filter_map(|member| self.connections[member as usize].identity.user.clone()).collect();
        users.sort_unstable();
        users.dedup();
        Occupancy { members: channel.member_count() as u64, users }
    }

    fn survey(&self, slot: Slot) -> Option<Survey> {
        let connection = self.get(slot)?;
        let channels = connection.subscriptions.iter().filter(|subscription| !subscription.implicit);
        Some(Survey {
            connection: connection.identity.connection.clone(),
            user: connection.identity.user.clone(),
            protocol: connection.identity.protocol.to_string(),
            channels: channels.map(|s| self.channels[s.channel as usize].key.channel.clone()).collect(),
            connected_at: connection.identity.connected_at,
        })
    }
}
