//! What the API and other nodes make this worker's connections do, and what they ask about them.

use starling_core::{Answer, AppId, Control, ErrorCode, Occupancy, Query, Refusal, Start, Subscribe, Survey, UserId};

use super::requests::Asker;
use super::*;

impl<T: Endpoint> Shard<T> {
    pub(super) fn control(&mut self, app: &AppId, control: Control, now: Now) {
        match control {
            Control::DisconnectUser { user } => {
                for slot in self.connections_of(app, &user) {
                    self.expel(slot, "disconnected by the application", now);
                }
            }
            Control::DisconnectConnection { connection } => {
                let slot = self.find(&connection).filter(|slot| self.is_of(*slot, app));
                if let Some(slot) = slot {
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
            Control::Subscribe { user, channel } => {
                for slot in self.connections_of(app, &user) {
                    let subscribe =
                        Subscribe { channel: channel.clone(), start: Start::Live, presence: false, enter: None };
                    self.subscribe(slot, Asker::Server, subscribe, now);
                }
            }
            Control::Unsubscribe { user, channel } => {
                for slot in self.connections_of(app, &user) {
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
                    .filter(|(_, channel)| channel.key.channel.user().is_none() && channel.member_count() > 0)
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
            Query::Stats => {
                let of_app = || self.channels.iter().filter(|(_, channel)| channel.key.app == *app);
                let named = || of_app().filter(|(_, channel)| channel.key.channel.user().is_none());
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
