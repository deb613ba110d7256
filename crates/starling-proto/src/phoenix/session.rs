//! The session of one Phoenix client: which topics it has joined, and what it is told.

use starling_core::{
    ChannelName, CloseReason, ConnectionId, ErrorCode, Form, Notice, Payload, Position, PresenceEntry, Publish,
    RawJson, Refusal, Reply, Request, Start, Subscribe, SubscribeMore, Tag, UserId,
};

use super::codec::{Carried, Incoming, decode};
use super::join::{Join, wish};
use super::pending::{Kind, Pending};
use super::topics::{By, Topic, Topics};
use super::write::{Head, Status, push, reply, reply_with, text};
use super::{CONTROL_TOPIC, MAX_EVENT_BYTES, Serializer, codes, presence};
use crate::json_text::{write_number, write_text};
use crate::session::{Action, Beat, Closing, Opened, Packet, Session};

/// The reason for which a real server refuses what has no channel.
const UNMATCHED: &str = "unmatched topic";

/// A Phoenix client's session.
#[derive(Debug)]
pub struct PhoenixSession {
    serializer: Serializer,
    connection: Option<ConnectionId>,
    user: Option<UserId>,
    topics: Topics,
    /// A join whose token is looked at first, or that waits until an earlier one of its topic is over.
    awaits: Option<Box<Join>>,
}

impl PhoenixSession {
    /// A session with the serializer that was agreed upon.
    pub fn new(serializer: Serializer) -> Self {
        Self { serializer, connection: None, user: None, topics: Topics::default(), awaits: None }
    }

    fn join(&mut self, incoming: &Incoming<'_>, topic: ChannelName, out: &mut Vec<Action>) -> Result<(), Refusal> {
        let payload = match incoming.payload {
            Carried::Json(json) => json,
            Carried::Binary(_) => "{}",
        };
        let wish = wish(payload).map_err(|why| Refusal::new(ErrorCode::InvalidMessage, why))?;
        let join = Join {
            join_ref: incoming.join_ref.as_ref().into(),
            reference: incoming.reference.as_ref().into(),
            topic,
            params: RawJson::from_valid(payload.to_owned()),
            start: wish.start,
            replaced: None,
        };
        match wish.token {
            None => self.rejoin(join, out),
            Some(token) => {
                let pending = Pending::new(Kind::Token, &join.join_ref, &join.reference, join.topic.as_str());
                self.awaits = Some(Box::new(join));
                out.push(Action::Request(pending.to_tag(), Request::Authenticate { token: Some(token) }));
            }
        }
        Ok(())
    }

    /// Joins, once the connection is no member by an earlier join of the topic.
    fn rejoin(&mut self, mut join: Join, out: &mut Vec<Action>) {
        let topic = join.topic.clone();
        let old = self.topics.remove(topic.as_str());
        if topic.user().is_some() && topic.user() == self.user.as_ref().map(UserId::as_str) {
            let head = [&*join.join_ref, &*join.reference, topic.as_str()];
            out.push(Action::Send(reply(self.serializer, head, Status::Ok, &empty())));
            if let Some(old) = old {
                self.close(topic.as_str(), &old.join_ref, out);
            }
            return self.topics.put(Topic { name: topic, join_ref: join.join_ref, greeted: true, by: By::User });
        }
        let Some(old) = old else { return self.subscribe(join, out) };
        join.replaced = (old.by == By::Client).then_some(old.join_ref);
        self.awaits = Some(Box::new(join));
        let leave = Pending::new(Kind::Own, "", "", topic.as_str());
        out.push(Action::Request(leave.to_tag(), Request::Unsubscribe { channel: topic }));
    }

    fn subscribe(&self, join: Join, out: &mut Vec<Action>) {
        let Join { join_ref, reference, topic, params, start, replaced } = join;
        let kind = if start == Start::Live { Kind::Join } else { Kind::JoinAt };
        let mut pending = Pending::new(kind, &join_ref, &reference, topic.as_str());
        pending.replaced = replaced.unwrap_or_default().as_bytes().to_vec().into();
        let more = SubscribeMore { params: Some(params), presence_if_kept: true, ..SubscribeMore::default() };
        let subscribe = Subscribe { start, more: Some(Box::new(more)), ..Subscribe::live(topic) };
        out.push(Action::Request(pending.to_tag(), Request::Subscribe(subscribe)));
    }

    fn leave(&mut self, incoming: &Incoming<'_>, out: &mut Vec<Action>) {
        let Incoming { join_ref, reference, topic, .. } = incoming;
        let Some(joined) = self.topics.get(topic) else {
            let head = [&**join_ref, &**reference, &**topic];
            return out.push(Action::Send(reply(self.serializer, head, Status::Ok, &empty())));
        };
        let is_stale = *joined.join_ref != **join_ref && **join_ref != *"null" && *joined.join_ref != *"null";
        if is_stale {
            return;
        }
        let pending = Pending::new(Kind::Leave, &joined.join_ref, reference, topic);
        if joined.by == By::User {
            return self.left(&pending, out);
        }
        let leave = Request::Unsubscribe { channel: joined.name.clone() };
        out.push(Action::Request(pending.to_tag(), leave));
    }

    fn left(&mut self, pending: &Pending, out: &mut Vec<Action>) {
        self.topics.remove(pending.topic());
        let head = [pending.join_ref(), pending.reference(), pending.topic()];
        out.push(Action::Send(reply(self.serializer, head, Status::Ok, &empty())));
        self.close(pending.topic(), pending.join_ref(), out);
    }

    fn push(&mut self, incoming: &Incoming<'_>, out: &mut Vec<Action>) -> Result<(), Refusal> {
        let Some(joined) = self.topics.get(&incoming.topic) else {
            let head = ["null", &*incoming.reference, &*incoming.topic];
            self.refused(head, &Refusal::custom("", UNMATCHED), out);
            return Ok(());
        };
        let event = &*incoming.event;
        if event.is_empty() || event.len() > MAX_EVENT_BYTES || event.chars().any(char::is_control) {
            return Err(invalid("an event has 1 to 255 bytes and no control characters"));
        }
        if event.starts_with("phx_") {
            return Err(invalid("events that start with phx_ are the protocol's own"));
        }
        let payload = incoming.payload.to_payload();
        let channel = joined.name.clone();
        let fallback = Some(Box::new(Publish::new(channel.clone(), event, payload.clone())));
        let pending = Pending::new(Kind::Push, &joined.join_ref, &incoming.reference, &incoming.topic);
        let request = Request::Event { channel: Some(channel), event: event.into(), payload, fallback };
        out.push(Action::Request(pending.to_tag(), request));
        Ok(())
    }

    fn joined(&mut self, pending: &Pending, reply_: Reply, out: &mut Vec<Action>) {
        let Reply::Subscribed { channel, position, recovered, response, .. } = reply_ else { return };
        let head = [pending.join_ref(), pending.reference(), pending.topic()];
        let position = position.filter(|_| pending.kind == Kind::JoinAt);
        out.push(Action::Send(match (response, position, recovered) {
            (Some(response), None, None) => reply(self.serializer, head, Status::Ok, &response),
            (response, position, recovered) => reply_with(self.serializer, head, Status::Ok, |out| {
                write_position(out, response.as_ref(), position.as_ref(), recovered);
            }),
        }));
        self.close_replaced(pending, out);
        let join_ref = pending.join_ref().into();
        self.topics.put(Topic { name: channel, join_ref, greeted: false, by: By::Client });
    }

    fn close_replaced(&self, pending: &Pending, out: &mut Vec<Action>) {
        if let Some(replaced) = pending.replaced() {
            self.close(pending.topic(), replaced, out);
        }
    }

    /// Tells that what was joined under `join_ref` is over.
    fn close(&self, topic: &str, join_ref: &str, out: &mut Vec<Action>) {
        let head = Head { join_ref, reference: join_ref, topic, event: "phx_close" };
        out.push(Action::Send(text(self.serializer, head, 2, |out| out.extend_from_slice(b"{}"))));
    }

    fn refused(&self, head: [&str; 3], refusal: &Refusal, out: &mut Vec<Action>) {
        let refused = reply_with(self.serializer, head, Status::Error, |out| write_refusal(out, refusal));
        out.push(Action::Send(refused));
    }

    /// The server ended a subscription: over, or broken, in which case clients join again by themselves.
    fn ended(&mut self, channel: &ChannelName, refusal: &Refusal, out: &mut Vec<Action>) {
        let Some(topic) = self.topics.remove(channel.as_str()) else { return };
        if topic.by != By::Client {
            return;
        }
        let is_broken = [ErrorCode::Internal, ErrorCode::EngineUnavailable].iter().any(|code| refusal.is(*code));
        if !is_broken {
            return self.close(channel.as_str(), &topic.join_ref, out);
        }
        let (join_ref, name) = (&*topic.join_ref, channel.as_str());
        let head = Head { join_ref, reference: join_ref, topic: name, event: "phx_error" };
        out.push(Action::Send(text(self.serializer, head, 2, |out| out.extend_from_slice(b"{}"))));
    }

    fn present(&mut self, channel: &ChannelName, members: &[PresenceEntry], out: &mut Vec<Action>) {
        let own = self.connection.as_ref();
        let Some(topic) = self.topics.get_mut(channel.as_str()) else { return };
        let greets = !std::mem::replace(&mut topic.greeted, true);
        let itself = members.iter().find(|entry| greets && Some(&entry.connection) == own);
        let name = channel.as_str();
        let head = Head { join_ref: &topic.join_ref, reference: "null", topic: name, event: "presence_state" };
        out.push(Action::Send(text(self.serializer, head, 128 * members.len(), |out| {
            presence::write_state(out, members, itself.map(|entry| &entry.connection));
        })));
        if let Some(itself) = itself {
            let head = Head { join_ref: "null", reference: "null", topic: name, event: "presence_diff" };
            out.push(Action::Send(text(self.serializer, head, 128, |out| presence::write_join(out, itself))));
        }
    }

    fn tell(&self, topic: &str, event: &str, out: &mut Vec<Action>, payload: impl FnOnce(&mut Vec<u8>)) {
        let head = Head { join_ref: self.topics.join_ref(topic), reference: "null", topic, event };
        out.push(Action::Send(text(self.serializer, head, 96, payload)));
    }
}

impl Session for PhoenixSession {
    fn open(&mut self, opened: &Opened, _: &mut Vec<Action>) {
        self.connection = Some(opened.connection.clone());
        self.user = opened.user.clone();
    }

    fn receive(&mut self, packet: Packet<'_>, out: &mut Vec<Action>) {
        let Ok(incoming) = decode(self.serializer, packet) else {
            return out.push(Action::Close(self.closing(CloseReason::InvalidMessage)));
        };
        let Incoming { join_ref, reference, topic, event, .. } = &incoming;
        let done = match (&**topic, &**event) {
            _ if incoming.fault.is_some() => Err(invalid(incoming.fault.unwrap_or_default())),
            (CONTROL_TOPIC, "heartbeat") => {
                let head = ["null", reference, CONTROL_TOPIC];
                out.push(Action::Send(reply(self.serializer, head, Status::Ok, &empty())));
                Ok(())
            }
            (name, "phx_join") => ChannelName::parse(name)
                .map_err(|error| Refusal::new(ErrorCode::InvalidChannel, error.to_string()))
                .and_then(|topic| self.join(&incoming, topic, out)),
            (_, "phx_leave") => {
                self.leave(&incoming, out);
                Ok(())
            }
            _ => self.push(&incoming, out),
        };
        if let Err(refusal) = done {
            self.refused([join_ref, reference, topic], &refusal, out);
        }
    }

    fn refuse(&mut self, packet: Packet<'_>, refusal: &Refusal, out: &mut Vec<Action>) {
        match decode(self.serializer, packet) {
            Ok(Incoming { join_ref, reference, topic, .. }) => {
                self.refused([&join_ref, &reference, &topic], refusal, out);
            }
            Err(_) => self.refused(["null", "null", CONTROL_TOPIC], refusal, out),
        }
    }

    fn answer(&mut self, tag: &Tag, reply_: Reply, out: &mut Vec<Action>) {
        let pending = Pending::of(tag);
        let head = [pending.join_ref(), pending.reference(), pending.topic()];
        let send = |out: &mut Vec<Action>, response: &Payload| {
            out.push(Action::Send(reply(self.serializer, head, Status::Ok, response)));
        };
        match (pending.kind, reply_) {
            (Kind::Join | Kind::JoinAt, reply_ @ Reply::Subscribed { .. }) => self.joined(&pending, reply_, out),
            (Kind::Join | Kind::JoinAt, Reply::Refused { refusal, .. }) => {
                match refusal.is_no_rule() {
                    // A real server has no join to refer to, where it has no channel for the topic.
                    true => {
                        let unmatched = Refusal { message: UNMATCHED.into(), ..refusal };
                        self.refused(["null", head[1], head[2]], &unmatched, out);
                    }
                    false => self.refused(head, &refusal, out),
                }
                self.close_replaced(&pending, out);
            }
            (Kind::Token, Reply::Authenticated { user, connection, .. }) => {
                self.user = user;
                self.connection = Some(connection);
                if let Some(join) = self.awaits.take() {
                    self.rejoin(*join, out);
                }
            }
            (Kind::Token, Reply::Refused { refusal, .. }) => {
                self.awaits = None;
                self.refused(head, &refusal, out);
            }
            // Not being a member is what it wanted.
            (Kind::Leave, _) => self.left(&pending, out),
            (Kind::Own, _) => {
                if let Some(join) = self.awaits.take_if(|join| join.topic.as_str() == pending.topic()) {
                    self.subscribe(*join, out);
                }
            }
            (_, Reply::Event(Some(response))) => send(out, &response),
            (_, Reply::Refused { refusal, .. }) => self.refused(head, &refusal, out),
            (_, _) => send(out, &empty()),
        }
    }

    fn notify(&mut self, notice: &Notice, out: &mut Vec<Action>) {
        match notice {
            Notice::Gap { channel, missed } => self.tell(channel.as_str(), "gap", out, |out| {
                out.extend_from_slice(b"{\"missed\":");
                write_number(out, *missed);
                out.push(b'}');
            }),
            Notice::Unsubscribed { channel, refusal } => self.ended(channel, refusal, out),
            Notice::Subscribed { channel, .. } => {
                let topic = Topic { name: channel.clone(), join_ref: "null".into(), greeted: false, by: By::Server };
                self.topics.put(topic);
            }
            Notice::PresenceState { channel, members } => self.present(channel, members, out),
            Notice::Event { channel, event, payload, .. } => {
                let topic = channel.as_ref().map_or(CONTROL_TOPIC, ChannelName::as_str);
                let join_ref = self.topics.join_ref(topic);
                out.push(Action::Send(push(self.serializer, join_ref, topic, event, payload)));
            }
            Notice::Drain { reconnect_in } => self.tell(CONTROL_TOPIC, "drain", out, |out| {
                out.extend_from_slice(b"{\"reconnectIn\":");
                write_number(out, reconnect_in.as_millis() as u64);
                out.push(b'}');
            }),
            Notice::Error { refusal } => self.tell(CONTROL_TOPIC, "error", out, |out| write_refusal(out, refusal)),
        }
    }

    fn beat(&self) -> Beat {
        Beat::Client
    }

    /// A broadcast comes before the reply to the push that caused it.
    fn answers_last(&self) -> bool {
        true
    }

    fn closing(&self, reason: CloseReason) -> Closing {
        codes::closing(reason)
    }

    fn form(&self) -> Form {
        self.serializer.form()
    }
}

fn empty() -> Payload {
    Payload::Json(RawJson::empty_object())
}

fn invalid(why: &'static str) -> Refusal {
    Refusal::new(ErrorCode::InvalidMessage, why)
}

/// `{"reason","code"}`, without what an application left empty.
fn write_refusal(out: &mut Vec<u8>, refusal: &Refusal) {
    let members = [("\"reason\":", &refusal.message), ("\"code\":", &refusal.code)];
    out.push(b'{');
    for (at, (name, value)) in members.into_iter().filter(|(_, value)| !value.is_empty()).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
        write_text(out, value);
    }
    out.push(b'}');
}

/// A join's response, with the place where it joined among its members. A response that is no object has no room for it.
fn write_position(out: &mut Vec<u8>, response: Option<&Payload>, position: Option<&Position>, recovered: Option<bool>) {
    let members = match response {
        None => "",
        Some(Payload::Json(json)) if json.is_object() => json.as_str()[1..json.as_str().len() - 1].trim_ascii(),
        Some(other) => return super::write::write_payload(out, other),
    };
    let start = out.len();
    out.push(b'{');
    out.extend_from_slice(members.as_bytes());
    let name = |out: &mut Vec<u8>, name: &str| {
        if out.len() > start + 1 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
    };
    if let Some(position) = position {
        name(out, "\"epoch\":");
        write_text(out, position.epoch.as_str());
        name(out, "\"offset\":");
        write_number(out, position.offset);
    }
    if let Some(recovered) = recovered {
        name(out, "\"recovered\":");
        out.extend_from_slice(if recovered { b"true" } else { b"false" });
    }
    out.push(b'}');
}
