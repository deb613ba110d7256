//! The session of one Pusher client.

mod members;
mod watchlist;

use std::sync::Arc;

use bytes::Bytes;
use starling_core::{
    ChannelName, CloseReason, ConnectionId, ErrorCode, Form, Notice, Payload, Publish, RawJson, Refusal, Reply,
    Request, Start, Subscribe, SubscribeMore, Tag, UserId,
};

use super::app::LiveApp;
use super::codec::{self, ClientPacket, Malformed, SubscribeFields};
use super::names::{self, Kind};
use super::{MAX_EVENT_NAME, codes, wire};
use crate::session::{Action, Beat, Closing, Opened, Packet, Session};
use crate::websocket::CloseCode;
use members::Presences;
use watchlist::Watch;

/// Packets about subscriptions that count against no limit, so that a client that comes back is in all its channels
/// at once.
const UNMETERED: u16 = 2500;

/// A Pusher client's session.
#[derive(Debug)]
pub struct PusherSession {
    app: Arc<LiveApp>,
    /// In seconds.
    activity_timeout: u32,
    connection: Option<ConnectionId>,
    /// Who signed in.
    user: Option<Box<SignedIn>>,
    presences: Presences,
    watch: Option<Box<Watch>>,
    /// How the session itself chose to end.
    ending: Option<Box<(u16, String)>>,
    /// The code of the last error that the client was told.
    told: u16,
    unmetered: u16,
}

/// A user for whom the app's secret vouched.
#[derive(Debug)]
struct SignedIn {
    user: UserId,
    info: RawJson,
    /// What the client is told once it is done.
    answer: Bytes,
}

/// What a reply answers.
mod tags {
    pub const SUBSCRIBE: &[u8] = b"s";
    pub const UNSUBSCRIBE: &[u8] = b"u";
    pub const PUBLISH: &[u8] = b"p";
    pub const SIGN_IN: &[u8] = b"i";
    /// Of the session's own channels: nothing is told of them.
    pub const OWN: &[u8] = b"o";
}

fn tag(kind: &'static [u8]) -> Tag {
    Tag(Bytes::from_static(kind))
}

impl PusherSession {
    /// A session of a client of `app`, which is asked to ping after `activity_timeout` seconds of silence.
    pub fn new(app: Arc<LiveApp>, activity_timeout: u32) -> Self {
        Self {
            app,
            activity_timeout: activity_timeout.max(1),
            connection: None,
            user: None,
            presences: Presences::default(),
            watch: None,
            ending: None,
            told: 0,
            unmetered: UNMETERED,
        }
    }

    fn socket_id(&self) -> &str {
        self.connection.as_ref().map_or("", ConnectionId::as_str)
    }

    fn subscribe(&mut self, fields: SubscribeFields, out: &mut Vec<Action>) {
        let name = &fields.channel;
        let channel = match names::channel(name, self.app.now().settings.max_channel_name) {
            Ok(channel) => channel,
            Err(error) => {
                let message = format!("Invalid channel name {:?}: {error}", short(name));
                return not_subscribed(&short(name), None, "InvalidChannel", &message, 400, out);
            }
        };
        if let Some(owner) = channel.user() {
            return match self.user.as_ref().filter(|signed_in| signed_in.user.as_str() == owner) {
                Some(_) => out.push(Action::Send(wire::subscription_succeeded(&channel, None))),
                None => unauthorized(name, &format!("Only the signed-in user itself receives {name}"), out),
            };
        }
        let kind = Kind::of(name);
        if kind != Kind::Public
            && let Err(message) = self.check_signature(&fields)
        {
            return unauthorized(name, &message, out);
        }
        let mut subscribe = Subscribe::live(channel.clone());
        if names::is_cache(name) {
            subscribe.start = Start::Rewind(1);
        }
        let mut more = SubscribeMore { vouched: true, adopts: true, ..SubscribeMore::default() };
        if kind == Kind::Presence {
            if self.presences.has(&channel) {
                return already_subscribed(name, out);
            }
            let (user, data) = match self.member(fields.channel_data.as_deref()) {
                Ok(member) => member,
                Err(message) => return unauthorized(name, &message, out),
            };
            self.presences.join(channel.clone(), user.clone());
            subscribe.presence = true;
            subscribe.enter = Some(data);
            more.as_user = Some(user);
            more.presence_first = true;
            more.most_users = Some(self.app.now().settings.max_presence_members).filter(|most| *most > 0);
        }
        subscribe.more = Some(Box::new(more));
        out.push(Action::Request(tag(tags::SUBSCRIBE), Request::Subscribe(subscribe)));
    }

    /// The client is a member of the channel, and no sooner may it know how many there are.
    fn follow_count(&self, channel: &ChannelName, out: &mut Vec<Action>) {
        if self.counts(channel) {
            out.push(own(ChannelName::headcount(channel)));
        }
    }

    /// Also when the app does not count any more: it may have done so before.
    fn forget_count(channel: &ChannelName, out: &mut Vec<Action>) {
        if Kind::of(channel.as_str()) != Kind::Presence {
            let channel = ChannelName::headcount(channel);
            out.push(Action::Request(tag(tags::OWN), Request::Unsubscribe { channel }));
        }
    }

    /// Whether the client is told how many members the channel has. Presence channels tell it by their members.
    fn counts(&self, channel: &ChannelName) -> bool {
        self.app.now().settings.subscription_count && Kind::of(channel.as_str()) != Kind::Presence
    }

    fn check_signature(&self, fields: &SubscribeFields) -> Result<(), String> {
        let SubscribeFields { channel, auth, channel_data } = fields;
        let auth = auth.as_deref().unwrap_or_default();
        let Some((key, signature)) = auth.split_once(':') else {
            return Err(format!(
                "Auth value for subscription to {channel} is invalid: should be of format 'key:signature'"
            ));
        };
        let app = self.app.now();
        if key != app.key() {
            return Err(format!("Invalid key in subscription auth data: '{}'", short(key)));
        }
        let mut text = format!("{}:{channel}", self.socket_id());
        if let Some(data) = channel_data {
            text.push(':');
            text.push_str(data);
        }
        match app.has_signed(&text, signature) {
            true => Ok(()),
            false => Err(format!(
                "Invalid signature: Expected HMAC SHA256 hex digest of {}, but got {}",
                short(&text),
                short(signature)
            )),
        }
    }

    /// As whom the client enters a presence channel: as its `channel_data` says, or as who it is signed in.
    fn member(&self, channel_data: Option<&str>) -> Result<(UserId, RawJson), String> {
        match (channel_data, &self.user) {
            (Some(data), _) => members::of_channel_data(data),
            (None, Some(signed_in)) => Ok((signed_in.user.clone(), signed_in.info.clone())),
            (None, None) => Err("Presence channels need channel_data, or a signed-in user".into()),
        }
    }

    fn unsubscribe(&mut self, name: &str, out: &mut Vec<Action>) {
        let Ok(channel) = names::channel(name, self.app.now().settings.max_channel_name) else {
            return out.push(Action::Send(wire::error(None, "Invalid channel name", None)));
        };
        // A user's own channel ends with the connection; clients only stop to look at it.
        if channel.user().is_some() {
            return;
        }
        self.presences.leave(&channel);
        out.push(Action::Request(tag(tags::UNSUBSCRIBE), Request::Unsubscribe { channel: channel.clone() }));
        Self::forget_count(&channel, out);
    }

    fn client_event(
        &mut self,
        event: &str,
        name: &str,
        data: Option<&serde_json::value::RawValue>,
        out: &mut Vec<Action>,
    ) {
        match self.check_client_event(event, name, data) {
            Ok((publish, user)) => {
                let per_second = self.app.now().settings.client_events_per_second;
                // The last event that a cache channel gives to newcomers is one of the servers.
                let kept = !names::is_cache(name);
                let request = Request::PublishAs { publish: Box::new(publish), user, kept, per_second };
                out.push(Action::Request(tag(tags::PUBLISH), request));
            }
            Err(message) => {
                let code = Some(codes::CLIENT_EVENT_REJECTED);
                out.push(Action::Send(wire::error(code, &message, Some(&short(name)))));
            }
        }
    }

    fn check_client_event(
        &self,
        event: &str,
        name: &str,
        data: Option<&serde_json::value::RawValue>,
    ) -> Result<(Publish, Option<UserId>), String> {
        if !self.app.now().settings.client_events {
            return Err("Client event rejected - the app does not have client events enabled".into());
        }
        if !matches!(Kind::of(name), Kind::Private | Kind::Presence) {
            return Err("Client event rejected - only supported on private and presence channels".into());
        }
        let channel =
            names::channel(name, self.app.now().settings.max_channel_name).map_err(|error| error.to_string())?;
        if event.len() > MAX_EVENT_NAME {
            return Err(format!("Client event rejected - event names have at most {MAX_EVENT_NAME} characters"));
        }
        let payload = codec::payload(data, self.app.now().settings.max_payload).map_err(|error| error.to_string())?;
        let user = self.presences.user(&channel).or(self.user.as_ref().map(|signed_in| &signed_in.user)).cloned();
        let mut publish = Publish::new(channel, event, payload);
        publish.echo = false;
        Ok((publish, user))
    }

    fn malformed(&self, malformed: &Malformed, out: &mut Vec<Action>) {
        out.push(Action::Send(wire::error(None, &malformed.to_string(), None)));
    }

    /// Ends the connection with a code of the session's own choice.
    fn end(&mut self, code: u16, message: impl Into<String>, out: &mut Vec<Action>) {
        self.ending = Some(Box::new((code, message.into())));
        out.push(Action::Close(self.closing(CloseReason::Forbidden)));
    }

    fn subscribed(&mut self, channel: &ChannelName, is_missed: bool, out: &mut Vec<Action>) {
        // Told when it is known who is there.
        if self.presences.confirm(channel, is_missed) {
            return;
        }
        out.push(Action::Send(wire::subscription_succeeded(channel, None)));
        if is_missed {
            out.push(cache_miss(channel));
        }
    }

    fn refused(&mut self, kind: &[u8], refusal: &Refusal, channel: Option<&ChannelName>, out: &mut Vec<Action>) {
        let name = channel.map_or("", ChannelName::as_str);
        match kind {
            tags::SUBSCRIBE if refusal.is(ErrorCode::AlreadySubscribed) => already_subscribed(name, out),
            tags::SUBSCRIBE => {
                if let Some(channel) = channel {
                    self.presences.leave(channel);
                }
                let (code, kind) = match refusal.is(ErrorCode::LimitExceeded) {
                    true => (None, "LimitReached"),
                    false => (code_of(refusal), "AuthError"),
                };
                not_subscribed(name, code, kind, &refusal.message, refusal.http_status(), out);
            }
            tags::UNSUBSCRIBE => {
                let message = format!("No current subscription to channel {name}, or subscription in progress");
                out.push(Action::Send(wire::error(None, &message, Some(name))));
            }
            tags::PUBLISH => {
                let message = match ErrorCode::from_name(&refusal.code) {
                    Some(ErrorCode::RateLimited) => RATE_LIMITED.to_owned(),
                    _ => format!("Client event rejected - {}", refusal.message),
                };
                out.push(Action::Send(wire::error(Some(codes::CLIENT_EVENT_REJECTED), &message, Some(name))));
            }
            tags::OWN => {
                // Nobody knows of a user who cannot be followed.
                if let Some(user) = channel.and_then(ChannelName::online_user) {
                    self.watched(user, false, out);
                }
            }
            tags::SIGN_IN => out.push(Action::Send(wire::error(code_of(refusal), &refusal.message, None))),
            _ => {}
        }
    }
}

const RATE_LIMITED: &str = "Client event rejected - the rate limit for sending client events exceeded the quota";

impl Session for PusherSession {
    fn open(&mut self, opened: &Opened, out: &mut Vec<Action>) {
        self.connection = Some(opened.connection.clone());
        out.push(Action::Send(wire::established(opened.connection.as_str(), self.activity_timeout)));
    }

    fn receive(&mut self, packet: Packet<'_>, out: &mut Vec<Action>) {
        let Packet::Text(text) = packet else {
            return self.malformed(&Malformed::Binary, out);
        };
        match codec::parse(text) {
            Ok(ClientPacket::Ping) => out.push(Action::Send(wire::event("pusher:pong", None, b"{}"))),
            Ok(ClientPacket::Pong) => {}
            Ok(ClientPacket::Subscribe(fields)) => self.subscribe(fields, out),
            Ok(ClientPacket::Unsubscribe { channel }) => self.unsubscribe(&channel, out),
            Ok(ClientPacket::SignIn { auth, user_data }) => self.sign_in(&auth, &user_data, out),
            Ok(ClientPacket::Client { event, channel, data }) => self.client_event(&event, &channel, data, out),
            Err(malformed) => self.malformed(&malformed, out),
        }
    }

    fn is_metered(&mut self, packet: Packet<'_>) -> bool {
        let Packet::Text(text) = packet else { return true };
        // As all clients write it; what is written otherwise is metered.
        let is_of_the_protocol = text.starts_with(r#"{"event":"pusher:"#);
        if is_of_the_protocol && self.unmetered > 0 {
            self.unmetered -= 1;
            return false;
        }
        true
    }

    fn forgives(&self) -> bool {
        true
    }

    fn refuse(&mut self, packet: Packet<'_>, _refusal: &Refusal, out: &mut Vec<Action>) {
        let channel = match packet {
            Packet::Text(text) => match codec::parse(text) {
                Ok(ClientPacket::Client { channel, .. }) => Some(short(&channel)),
                _ => None,
            },
            Packet::Binary(_) => None,
        };
        let code = Some(codes::CLIENT_EVENT_REJECTED);
        out.push(Action::Send(wire::error(code, RATE_LIMITED, channel.as_deref())));
    }

    fn answer(&mut self, tag: &Tag, reply: Reply, out: &mut Vec<Action>) {
        match reply {
            Reply::Subscribed { channel, follows, .. } if *tag.0 == *tags::SUBSCRIBE => {
                let is_missed = names::is_cache(channel.as_str()) && !follows;
                self.subscribed(&channel, is_missed, out);
                self.follow_count(&channel, out);
            }
            Reply::Done if *tag.0 == *tags::SIGN_IN => {
                if let Some(signed_in) = &self.user {
                    out.push(Action::Send(wire::event("pusher:signin_success", None, &signed_in.answer)));
                }
            }
            Reply::Refused { refusal, channel } => self.refused(&tag.0, &refusal, channel.as_ref(), out),
            // What needs no words, and answers to what this session never asks.
            _ => {}
        }
    }

    fn notify(&mut self, notice: &Notice, out: &mut Vec<Action>) {
        match notice {
            Notice::PresenceState { channel, members } => match channel.online_user() {
                Some(user) => self.watched(user, !members.is_empty(), out),
                None => {
                    out.push(Action::Send(wire::subscription_succeeded(channel, Some(members))));
                    if self.presences.told(channel) {
                        out.push(cache_miss(channel));
                    }
                }
            },
            Notice::Subscribed { channel, .. } => {
                out.push(Action::Send(wire::subscription_succeeded(channel, None)));
                self.follow_count(channel, out);
            }
            Notice::Unsubscribed { channel, refusal } => {
                self.presences.leave(channel);
                let (name, message) = (channel.as_str(), &refusal.message);
                out.push(Action::Send(wire::subscription_error(name, "Unsubscribed", message, refusal.http_status())));
                Self::forget_count(channel, out);
            }
            Notice::Event { channel, event, payload, .. } if !names::is_reserved_event(event) => {
                let data = data_of(payload);
                out.push(Action::Send(wire::event(event, channel.as_ref(), &data)));
            }
            Notice::Event { .. } | Notice::Drain { .. } => {}
            Notice::Gap { channel, missed } if channel.counted().is_none() => {
                let data = format!(r#"{{"missed":{missed}}}"#);
                out.push(Action::Send(wire::event("starling:gap", Some(channel), data.as_bytes())));
            }
            Notice::Gap { .. } => {}
            Notice::Error { refusal } => {
                let code = code_of(refusal);
                self.told = code.unwrap_or(0);
                out.push(Action::Send(wire::error(code, &refusal.message, None)));
            }
        }
    }

    fn beat(&self) -> Beat {
        Beat::Silence
    }

    fn heartbeat(&mut self, out: &mut Vec<Action>) {
        out.push(Action::Send(wire::event("pusher:ping", None, b"{}")));
    }

    fn farewell(&mut self, reason: CloseReason, out: &mut Vec<Action>) {
        let closing = self.closing(reason);
        if closing.code.0 >= 4000 && self.told != closing.code.0 {
            out.push(Action::Send(wire::error(Some(closing.code.0), &closing.text, None)));
        }
    }

    fn closing(&self, reason: CloseReason) -> Closing {
        match self.ending.as_deref().filter(|_| reason == CloseReason::Forbidden) {
            Some((code, text)) => Closing { reason, code: CloseCode(*code), text: super::close_text(text) },
            None => codes::closing(reason),
        }
    }

    fn form(&self) -> Form {
        crate::voices::PUSHER
    }
}

/// Membership in one of the session's own channels.
fn own(channel: ChannelName) -> Action {
    let more = SubscribeMore { vouched: true, ..SubscribeMore::default() };
    let subscribe = Subscribe { more: Some(Box::new(more)), ..Subscribe::live(channel) };
    Action::Request(tag(tags::OWN), Request::Subscribe(subscribe))
}

fn cache_miss(channel: &ChannelName) -> Action {
    Action::Send(wire::event("pusher:cache_miss", Some(channel), b"{}"))
}

fn already_subscribed(name: &str, out: &mut Vec<Action>) {
    // The subscription that is there stays, so that the channel itself is told of no error.
    out.push(Action::Send(wire::error(None, &format!("Existing subscription to channel {name}"), Some(name))));
}

fn unauthorized(name: &str, message: &str, out: &mut Vec<Action>) {
    not_subscribed(name, Some(codes::UNAUTHORIZED), "AuthError", message, 401, out);
}

fn not_subscribed(name: &str, code: Option<u16>, kind: &str, message: &str, status: u16, out: &mut Vec<Action>) {
    out.push(Action::Send(wire::error(code, message, Some(name))));
    out.push(Action::Send(wire::subscription_error(name, kind, message, status)));
}

fn code_of(refusal: &Refusal) -> Option<u16> {
    match ErrorCode::from_name(&refusal.code)? {
        ErrorCode::Forbidden | ErrorCode::AuthRequired | ErrorCode::TokenInvalid | ErrorCode::TokenExpired => {
            Some(codes::UNAUTHORIZED)
        }
        ErrorCode::RateLimited => Some(codes::CLIENT_EVENT_REJECTED),
        _ => None,
    }
}

fn data_of(payload: &Payload) -> Vec<u8> {
    match payload {
        Payload::Json(json) => json.bytes().to_vec(),
        Payload::Binary(bytes) => {
            let mut out = Vec::new();
            crate::json_text::write_base64(&mut out, bytes);
            out
        }
    }
}

/// What a client sent, cut to what fits into an error.
fn short(text: &str) -> String {
    text.chars().take(255).collect()
}
