//! What the tests of `socket.io-client` expect to be there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use starling::core::{
    Admission, AppId, Application, Caller, ChannelName, CloseReason, ConnectionId, Decision, Effects, Emission,
    Payload, Pending, RawJson, Refusal,
};
use starling::{Audience, Broadcaster, Options};
use starling_proto::socketio::arguments;
use tokio::runtime::Handle;

use super::emission;

const NAMESPACES: [&str; 6] = ["/foo#", "/timeout_socket#", "/valid#", "/asd#", "/abc#", "/no#"];

/// How long nobody is let in.
const PAUSE: Duration = Duration::from_millis(10);

/// The handlers, and what they remember of each connection.
pub struct Client {
    seen: Mutex<HashMap<ConnectionId, Seen>>,
    questions: AtomicU64,
    broadcaster: OnceLock<Broadcaster>,
    runtime: Handle,
}

#[derive(Default)]
struct Seen {
    /// What it sent along when it entered the main namespace.
    auth: Option<RawJson>,
    /// Events whose order matters, as they came.
    events: Vec<String>,
}

/// The heartbeat of the official test server, and sessions that can be resumed.
pub fn configure(options: &mut Options) -> Arc<Client> {
    let client = Arc::new(Client {
        seen: Mutex::default(),
        questions: AtomicU64::new(1),
        broadcaster: OnceLock::new(),
        runtime: Handle::current(),
    });
    options.application = Some(client.clone());
    options.live.heartbeat.interval = Duration::from_secs(2);
    options.live.heartbeat.timeout = Duration::from_secs(20);
    client
}

impl Client {
    /// Gives the handlers what they need to speak unasked.
    pub fn attach(&self, broadcaster: Broadcaster) {
        let _ = self.broadcaster.set(broadcaster);
    }

    fn of<T>(&self, connection: &ConnectionId, act: impl FnOnce(&mut Seen) -> T) -> T {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        act(seen.entry(connection.clone()).or_default())
    }

    fn main_event(&self, caller: &Caller, event: &str, payload: &Payload) -> Decision {
        let value = match payload {
            Payload::Json(json) => serde_json::from_str(json.as_str()).unwrap_or_default(),
            Payload::Binary(_) => Value::Null,
        };
        let is_binary = matches!(payload, Payload::Binary(_));
        // Bytes inside of JSON.
        let with_bytes = |more: [(&str, &str); 2]| {
            value["message"]["_placeholder"] == true && more.iter().all(|(name, text)| value[name] == *text)
        };
        let came = |name: &str| self.of(&caller.connection, |seen| seen.events.iter().any(|event| event == name));
        let bytes = || Payload::Binary((&b"asdfasdf"[..]).into());
        match event {
            "hi" => tell("hi", arguments::list([])),
            "echo" => answer(payload.clone()),
            "ack" => {
                let ack = Some(self.questions.fetch_add(1, Ordering::Relaxed));
                emit([Emission { ack, ..emission(None, "ack", arguments::list([])) }])
            }
            "getAckDate" => answer(date().into_payload()),
            "getDate" => tell("takeDate", date().into_payload()),
            "getDateObj" => tell("takeDateObj", json!({ "date": date() }).into_payload()),
            "getUtf8" => {
                let texts = ["てすと", "Я Б Г Д Ж Й", "Ä ä Ü ü ß", "utf8 — string", "utf8 — string"];
                emit(texts.map(|text| emission(None, "takeUtf8", json!(text).into_payload())))
            }
            "false" => tell("false", json!(false).into_payload()),
            "doge" => tell("doge", bytes()),
            "getbin" => tell("takebin", bytes()),
            "buffa" if is_binary => tell("buffack", arguments::list([])),
            "blob" if is_binary => tell("back", arguments::list([])),
            "jsonbuff" | "jsonblob" if with_bytes([("hello", "lol"), ("goodbye", "gotcha")]) => {
                tell(&format!("{event}-ack"), arguments::list([]))
            }
            "abuff1" | "blob1" if is_binary => self.remember(caller, event),
            "blob2" if came("blob1") && value == "second" => self.remember(caller, event),
            "abuff2" if came("abuff1") => tell("abuff2-ack", arguments::list([])),
            "blob3" if is_binary && came("blob2") => tell("blob3-ack", arguments::list([])),
            "getHandshake" => {
                let auth = self.of(&caller.connection, |seen| seen.auth.clone());
                answer(handshake(caller, auth.as_ref()))
            }
            "getId" => answer(json!(caller.connection.as_str()).into_payload()),
            _ => silence(),
        }
    }

    fn remember(&self, caller: &Caller, event: &str) -> Decision {
        self.of(&caller.connection, |seen| seen.events.push(event.to_owned()));
        silence()
    }
}

impl Application for Client {
    fn accepts(&self, _app: &AppId, scope: &ChannelName) -> bool {
        NAMESPACES.contains(&scope.as_str())
    }

    /// As slow as the official test server: some tests want to give up before they are let in.
    fn connect(&self, _caller: &Caller) -> Pending<Result<Admission, Refusal>> {
        Pending::later(async {
            tokio::time::sleep(PAUSE).await;
            Ok(Admission::default())
        })
    }

    fn enter(
        &self,
        caller: &Caller,
        scope: Option<&ChannelName>,
        params: Option<&RawJson>,
    ) -> Pending<Result<Effects, Refusal>> {
        let refused = |message| Err(Refusal::custom("REFUSED", message));
        Pending::Ready(match scope.map(ChannelName::as_str) {
            None if query(caller).contains_key("fail") => refused("Auth failed (main namespace)"),
            None => {
                self.of(&caller.connection, |seen| seen.auth = params.cloned());
                Ok(Effects::default())
            }
            Some("/no#") => refused("Auth failed (custom namespace)"),
            Some("/abc#") => {
                let emit = vec![emission(scope, "handshake", handshake(caller, params))];
                Ok(Effects { emit, ..Effects::default() })
            }
            Some(_) => Ok(Effects::default()),
        })
    }

    fn event(
        &self,
        caller: &Caller,
        channel: Option<&ChannelName>,
        event: &str,
        payload: &Payload,
    ) -> Option<Pending<Result<Decision, Refusal>>> {
        let decision = match (channel.map(ChannelName::as_str), event) {
            (None, event) => self.main_event(caller, event, payload),
            (Some("/foo#"), "getId") => answer(json!(caller.connection.as_str()).into_payload()),
            _ => silence(),
        };
        Some(Pending::Ready(Ok(decision)))
    }

    fn acknowledged(&self, caller: &Caller, _ack: u64, payload: Payload) {
        let Payload::Json(json) = payload else { return };
        let Ok(value) = serde_json::from_str::<Value>(json.as_str()) else { return };
        let Some(broadcaster) = self.broadcaster.get().cloned().filter(|_| value == json!([5, { "test": true }]))
        else {
            return;
        };
        let audience = Audience::connection(caller.connection.as_str());
        self.runtime.spawn(async move {
            if let Err(refusal) = broadcaster.emit(audience, "got it", ()).await {
                eprintln!("an event was not emitted: {}", refusal.message);
            }
        });
    }

    fn disconnected(&self, caller: &Caller, _reason: CloseReason) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(&caller.connection);
    }
}

/// As payloads.
trait IntoJson {
    fn into_payload(self) -> Payload;
}

impl<T: Into<Value>> IntoJson for T {
    fn into_payload(self) -> Payload {
        Payload::Json(RawJson::from_valid(self.into().to_string()))
    }
}

fn answer(payload: Payload) -> Decision {
    Decision { reply: Some(payload), ..Decision::default() }
}

/// Handlers that do not call the ack.
fn silence() -> Decision {
    Decision { unanswered: true, ..Decision::default() }
}

fn emit(emissions: impl IntoIterator<Item = Emission>) -> Decision {
    let emit = emissions.into_iter().collect();
    Decision { effects: Effects { emit, ..Effects::default() }, ..silence() }
}

fn tell(event: &str, payload: Payload) -> Decision {
    emit([emission(None, event, payload)])
}

/// What the client sent along: `query` and `auth`.
fn handshake(caller: &Caller, auth: Option<&RawJson>) -> Payload {
    let auth: Value = auth.map_or_else(|| json!({}), |auth| serde_json::from_str(auth.as_str()).unwrap_or_default());
    json!({ "query": query(caller), "auth": auth }).into_payload()
}

fn query(caller: &Caller) -> Map<String, Value> {
    let pairs = caller.query.as_deref().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(name, value)| (decoded(name), Value::String(decoded(value)))).collect()
}

/// Without its percent signs.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        let escaped = more.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &more[2..];
            }
            None => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Now, as JavaScript writes dates into JSON.
fn date() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Years from March, in eras of 400: H. Hinnant's `civil_from_days`.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second, milli) = (second / 3600, second / 60 % 60, second % 60, since.subsec_millis());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}
