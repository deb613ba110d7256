//! Chat rooms. Whoever opens a room says who may enter it; what is said there has an id of the sender's, so that a
//! client that did not hear the answer can say it again without being heard twice.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;
use starling::core::{ErrorCode, Refusal};
use starling::handlers::{Answer, Channel, Connection, Handlers, Join, Member};
use starling::{Audience, Post};

/// The longest text, in bytes.
const MAX_TEXT: usize = 2000;

/// Who may enter which room. A real chat has a database here.
#[derive(Default)]
pub struct Rooms(Mutex<HashMap<String, HashSet<String>>>);

#[derive(Deserialize)]
struct OpenRoom {
    room: String,
    members: Vec<String>,
}

#[derive(Deserialize)]
struct Say {
    /// The sender's own id for the message.
    id: String,
    text: String,
}

/// What the sender of a message is answered.
#[derive(Serialize)]
struct Said {
    id: String,
    /// The message's place in the room.
    offset: Option<u64>,
}

#[derive(Deserialize)]
struct Invite {
    user: String,
}

/// The handlers of the chat.
pub fn handlers() -> Handlers {
    let rooms = Arc::new(Rooms::default());
    let room = Channel::new("room:{name}")
        .presence_grace(Duration::from_secs(5))
        .history(100, Duration::from_secs(3600))
        .on_join(with(&rooms, enter))
        .on("say", say)
        .on("invite", with2(&rooms, invite));
    Handlers::new().on("open_room", with2(&rooms, open_room)).channel(room)
}

async fn open_room(rooms: Arc<Rooms>, connection: Connection, wish: OpenRoom) -> Answer {
    let user = user_of(&connection)?;
    let mut rooms = rooms.0.lock();
    if rooms.contains_key(&wish.room) {
        return Err(Refusal::custom("ROOM_EXISTS", "there is a room of this name"));
    }
    let members = wish.members.into_iter().chain([user]).collect();
    rooms.insert(wish.room, members);
    Ok(())
}

async fn enter(rooms: Arc<Rooms>, member: Member<String>) -> Answer<Join> {
    let user = user_of(&member)?;
    let is_member = rooms.0.lock().get(member.params()).is_some_and(|members| members.contains(&user));
    if !is_member {
        return Err(Refusal::new(ErrorCode::Forbidden, "you are not a member of this room"));
    }
    Ok(Join::accept().present_with(&json!({"name": user})))
}

async fn say(member: Member<String>, Say { id, text }: Say) -> Answer<Said> {
    if text.is_empty() || text.len() > MAX_TEXT {
        return Err(Refusal::custom("BAD_TEXT", format!("a text has 1 to {MAX_TEXT} bytes")));
    }
    let post = Post::new(member.channel().as_str(), "said", json!({"text": text})).message_id(&id);
    let published = member.send(post).await?;
    Ok(Said { id, offset: published.position.map(|position| position.offset) })
}

async fn invite(rooms: Arc<Rooms>, member: Member<String>, Invite { user }: Invite) -> Answer {
    if let Some(members) = rooms.0.lock().get_mut(member.params()) {
        members.insert(user.clone());
    }
    let invitation = json!({"room": member.params(), "by": member.user_id()});
    member.broadcaster().emit(Audience::user(user), "invited", invitation).await
}

fn user_of<S>(connection: &Connection<S>) -> Answer<String> {
    let anonymous = || Refusal::new(ErrorCode::AuthRequired, "a chat is for people with a name");
    connection.user_id().map(str::to_owned).ok_or_else(anonymous)
}

/// A handler that takes the rooms first.
fn with<C, F, Fut>(rooms: &Arc<Rooms>, handler: F) -> impl Fn(C) -> Fut + Send + Sync + 'static
where
    F: Fn(Arc<Rooms>, C) -> Fut + Send + Sync + 'static,
{
    let rooms = rooms.clone();
    move |on| handler(rooms.clone(), on)
}

/// The same for a handler that takes a payload.
fn with2<C, T, F, Fut>(rooms: &Arc<Rooms>, handler: F) -> impl Fn(C, T) -> Fut + Send + Sync + 'static
where
    F: Fn(Arc<Rooms>, C, T) -> Fut + Send + Sync + 'static,
{
    let rooms = rooms.clone();
    move |on, payload| handler(rooms.clone(), on, payload)
}
