//! Signing in, and whom a user wants to know online.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::value::RawValue;
use starling_core::{ChannelName, RawJson, Request, Subscribe, SubscribeMore, UserId};

use super::{PusherSession, SignedIn, members, tag, tags};
use crate::json_text::write_text;
use crate::pusher::{MAX_WATCHLIST, codes, wire};
use crate::session::Action;

/// The first report on a watchlist, while it is put together.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Users of whom nothing is known yet.
    awaited: usize,
    online: Vec<UserId>,
    offline: Vec<UserId>,
}

#[derive(Deserialize)]
struct UserData<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow)]
    user_info: Option<&'a RawValue>,
    watchlist: Option<Vec<String>>,
}

impl PusherSession {
    pub(super) fn sign_in(&mut self, auth: &str, user_data: &str, out: &mut Vec<Action>) {
        let text = format!("{}::user::{user_data}", self.socket_id());
        let app = self.app.now();
        let is_signed =
            auth.split_once(':').is_some_and(|(key, signature)| key == app.key() && app.has_signed(&text, signature));
        if !is_signed {
            return self.end(codes::UNAUTHORIZED, "Connection not authorized: invalid signature", out);
        }
        let (user, info, mut watchlist) = match read(user_data) {
            Ok(read) => read,
            Err(message) => return self.end(codes::UNAUTHORIZED, message, out),
        };
        let answer = answer(auth, user_data);
        if let Some(signed_in) = &self.user {
            out.push(Action::Send(match signed_in.user == user {
                true => wire::event("pusher:signin_success", None, &answer),
                false => wire::error(Some(codes::UNAUTHORIZED), "Connection is signed in as another user", None),
            }));
            return;
        }
        let request = Request::Identify { user: user.clone(), info: Some(info.clone()) };
        out.push(Action::Request(tag(tags::SIGN_IN), request));
        if watchlist.len() > MAX_WATCHLIST {
            watchlist.truncate(MAX_WATCHLIST);
            let message = format!("Watchlist limit exceeded: only the first {MAX_WATCHLIST} user IDs are accepted");
            out.push(Action::Send(wire::error(Some(codes::WATCHLIST_LIMIT), &message, None)));
        }
        out.push(enter_online(&user, watchlist.contains(&user)));
        if !watchlist.is_empty() {
            self.watch = Some(Box::new(Watch { awaited: watchlist.len(), ..Watch::default() }));
            out.extend(watchlist.iter().filter(|watched| **watched != user).map(follow));
        }
        self.user = Some(Box::new(SignedIn { user, info, answer: answer.into() }));
    }

    /// A user of the watchlist is online, or not. The first report is one for all of them.
    pub(super) fn watched(&mut self, user: &str, is_online: bool, out: &mut Vec<Action>) {
        let mut watch = self.watch.take().unwrap_or_default();
        let list = if is_online { &mut watch.online } else { &mut watch.offline };
        list.push(UserId::from(user));
        watch.awaited = watch.awaited.saturating_sub(1);
        if watch.awaited > 0 {
            self.watch = Some(watch);
            return;
        }
        out.extend(wire::watchlist_events(&watch.online, &watch.offline).map(Action::Send));
    }
}

/// The user, what is known of it, and whom it watches: each once, in the order of the list.
fn read(user_data: &str) -> Result<(UserId, RawJson, Vec<UserId>), String> {
    let data: UserData<'_> =
        serde_json::from_str(user_data).map_err(|_| "user_data is a JSON object with an id".to_owned())?;
    let user = members::user_id(data.id)?;
    let mut seen = HashSet::new();
    let mut watchlist: Vec<UserId> = data.watchlist.unwrap_or_default().into_iter().map(UserId::new).collect();
    watchlist.retain(|watched| {
        let fits = !watched.as_str().is_empty() && watched.as_str().len() <= super::super::MAX_USER_ID;
        fits && seen.insert(watched.clone())
    });
    Ok((user, members::info(data.user_info)?, watchlist))
}

/// Clients read their user's data from the answer.
fn answer(auth: &str, user_data: &str) -> Vec<u8> {
    let mut out = br#"{"auth":"#.to_vec();
    write_text(&mut out, auth);
    out.extend_from_slice(br#","user_data":"#);
    write_text(&mut out, user_data);
    out.push(b'}');
    out
}

/// Shows those who watch `user` that it is there; some watch themselves.
fn enter_online(user: &UserId, presence: bool) -> Action {
    let more = SubscribeMore { vouched: true, as_user: Some(user.clone()), ..SubscribeMore::default() };
    let subscribe = Subscribe {
        presence,
        enter: Some(RawJson::empty_object()),
        more: Some(Box::new(more)),
        ..Subscribe::live(ChannelName::online(user))
    };
    Action::Request(tag(tags::OWN), Request::Subscribe(subscribe))
}

fn follow(user: &UserId) -> Action {
    let more = SubscribeMore { vouched: true, ..SubscribeMore::default() };
    let subscribe =
        Subscribe { presence: true, more: Some(Box::new(more)), ..Subscribe::live(ChannelName::online(user)) };
    Action::Request(tag(tags::OWN), Request::Subscribe(subscribe))
}
