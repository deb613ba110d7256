//! Conversations: what a client says, what the hub is asked, what the client is told.

use std::sync::Arc;

use starling_core::{CloseReason, ErrorCode, Notice, Refusal, Reply, Request, Start, Tag};
use starling_proto::pusher::{App, AppSettings, LiveApp, PusherSession, TurnedAway, sign};
use starling_proto::{Action, Packet, Session};

use crate::{SECRET, SOCKET, auth, channel, entry, open, receive, session, texts};

fn requests(actions: Vec<Action>) -> Vec<(Tag, Request)> {
    let requests = actions.into_iter().map(|action| match action {
        Action::Request(tag, request) => (tag, request),
        other => panic!("only requests were expected: {other:?}"),
    });
    requests.collect()
}

fn answer(session: &mut PusherSession, tag: &Tag, reply: Reply) -> Vec<String> {
    let mut actions = Vec::new();
    session.answer(tag, reply, &mut actions);
    texts(actions)
}

fn notify(session: &mut PusherSession, notice: &Notice) -> Vec<String> {
    let mut actions = Vec::new();
    session.notify(notice, &mut actions);
    texts(actions)
}

fn subscribed(name: &str, follows: bool) -> Reply {
    Reply::Subscribed { channel: channel(name), position: None, recovered: None, follows, response: None }
}

#[test]
fn a_public_channel_is_open() {
    let mut session = session(AppSettings::default());
    let asked = requests(receive(&mut session, r#"{"event":"pusher:subscribe","data":{"auth":"","channel":"news"}}"#));
    let [(tag, Request::Subscribe(subscribe))] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((subscribe.channel.as_str(), subscribe.presence, &subscribe.start), ("news", false, &Start::Live));
    assert!(subscribe.more.as_ref().is_some_and(|more| more.vouched));
    assert_eq!(
        answer(&mut session, tag, subscribed("news", false)),
        [r#"{"event":"pusher_internal:subscription_succeeded","data":"{}","channel":"news"}"#]
    );
}

#[test]
fn data_may_be_a_string_that_holds_an_object() {
    let mut session = session(AppSettings::default());
    let asked = requests(receive(&mut session, r#"{"event":"pusher:subscribe","data":"{\"channel\":\"news\"}"}"#));
    assert_eq!(asked.len(), 1);
}

#[test]
fn a_private_channel_wants_a_signature() {
    let mut session = session(AppSettings::default());
    let subscribe =
        |auth: &str| format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"private-a","auth":"{auth}"}}}}"#);
    assert_eq!(requests(receive(&mut session, &subscribe(&auth("private-a")))).len(), 1);
    let told = texts(receive(&mut session, &subscribe("key:00")));
    assert_eq!(
        told,
        [
            r#"{"event":"pusher:error","data":{"code":4009,"message":"Invalid signature: Expected HMAC SHA256 hex digest of 123.456:private-a, but got 00"},"channel":"private-a"}"#,
            r#"{"event":"pusher:subscription_error","data":{"type":"AuthError","error":"Invalid signature: Expected HMAC SHA256 hex digest of 123.456:private-a, but got 00","status":401},"channel":"private-a"}"#,
        ]
    );
}

#[test]
fn a_presence_channel_is_told_when_everyone_is_known() {
    let mut session = session(AppSettings::default());
    let data = r#"{\"user_id\":\"ann\",\"user_info\":{\"n\":1}}"#;
    let signed = auth(&format!("presence-cache-a:{}", data.replace('\\', "")));
    let subscribe = format!(
        r#"{{"event":"pusher:subscribe","data":{{"channel":"presence-cache-a","auth":"{signed}","channel_data":"{data}"}}}}"#
    );
    let asked = requests(receive(&mut session, &subscribe));
    let [(tag, Request::Subscribe(asked))] = &asked[..] else { panic!("{asked:?}") };
    let more = asked.more.as_ref().unwrap();
    assert_eq!(
        (asked.presence, more.as_user.as_ref().unwrap().as_str(), &asked.start),
        (true, "ann", &Start::Rewind(1))
    );
    assert_eq!(asked.enter.as_ref().unwrap().as_str(), r#"{"n":1}"#);

    assert!(answer(&mut session, tag, subscribed("presence-cache-a", false)).is_empty());
    let members = vec![
        entry(Some("bob"), "9", "{}", 7),
        entry(Some("ann"), "123.456", r#"{"n":1}"#, 8),
        entry(Some("bob"), "8", r#"{"first":true}"#, 3),
        entry(None, "7.7", r#"{"user_info":5}"#, 4),
    ];
    let state = Notice::PresenceState { channel: channel("presence-cache-a"), members };
    assert_eq!(
        notify(&mut session, &state),
        [
            r#"{"event":"pusher_internal:subscription_succeeded","data":"{\"presence\":{\"count\":3,\"ids\":[\"bob\",\"7.7\",\"ann\"],\"hash\":{\"bob\":{\"first\":true},\"7.7\":5,\"ann\":{\"n\":1}}}}","channel":"presence-cache-a"}"#,
            r#"{"event":"pusher:cache_miss","data":"{}","channel":"presence-cache-a"}"#,
        ]
    );

    // Its client events are in the name of that user.
    let event = receive(&mut session, r#"{"event":"client-x","channel":"presence-cache-a","data":{"a":1}}"#);
    let asked = requests(event);
    let [(tag, Request::PublishAs { publish, user, kept, .. })] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((publish.echo, user.as_ref().unwrap().as_str(), *kept), (false, "ann", false));
    let refusal = Refusal::new(ErrorCode::RateLimited, "too many");
    assert_eq!(
        answer(&mut session, tag, Reply::Refused { refusal, channel: Some(channel("presence-cache-a")) }),
        [
            r#"{"event":"pusher:error","data":{"code":4301,"message":"Client event rejected - the rate limit for sending client events exceeded the quota"},"channel":"presence-cache-a"}"#
        ]
    );
}

/// Which channels a session enters and leaves.
fn moves(actions: &[Action]) -> Vec<String> {
    let moves = actions.iter().filter_map(|action| match action {
        Action::Request(_, Request::Subscribe(subscribe)) => Some(format!("+{}", subscribe.channel)),
        Action::Request(_, Request::Unsubscribe { channel }) => Some(format!("-{channel}")),
        _ => None,
    });
    moves.collect()
}

#[test]
fn only_members_follow_how_many_there_are() {
    let mut session = session(AppSettings { subscription_count: true, ..AppSettings::default() });
    let subscribe = r#"{"event":"pusher:subscribe","data":{"channel":"news"}}"#;
    let mut asked = receive(&mut session, subscribe);
    assert_eq!(moves(&asked), ["+news"]);
    let Some(Action::Request(tag, _)) = asked.pop() else { panic!("{asked:?}") };
    let mut told = |reply| {
        let mut actions = Vec::new();
        session.answer(&tag, reply, &mut actions);
        moves(&actions)
    };
    let refusal = Refusal::new(ErrorCode::Forbidden, "no");
    let none: [&str; 0] = [];
    assert_eq!(told(Reply::Refused { refusal: refusal.clone(), channel: Some(channel("news")) }), none);
    assert_eq!(told(subscribed("news", false)), ["+#count:news"]);
    let left = receive(&mut session, r#"{"event":"pusher:unsubscribe","data":{"channel":"news"}}"#);
    assert_eq!(moves(&left), ["-news", "-#count:news"]);
    // Whoever is taken in by the server is a member like others, and one no more when it is taken out.
    let mut noted = |notice: &Notice| {
        let mut actions = Vec::new();
        session.notify(notice, &mut actions);
        moves(&actions)
    };
    assert_eq!(noted(&Notice::Subscribed { channel: channel("news"), position: None }), ["+#count:news"]);
    assert_eq!(noted(&Notice::Unsubscribed { channel: channel("news"), refusal }), ["-#count:news"]);
}

#[test]
fn a_wrong_sign_in_ends_the_connection() {
    let mut session = session(AppSettings::default());
    let actions = receive(&mut session, r#"{"event":"pusher:signin","data":{"auth":"key:00","user_data":"{}"}}"#);
    let [Action::Close(closing)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((closing.reason, closing.code.0), (CloseReason::Forbidden, 4009));
    let mut actions = Vec::new();
    session.farewell(CloseReason::Forbidden, &mut actions);
    assert_eq!(
        texts(actions),
        [r#"{"event":"pusher:error","data":{"code":4009,"message":"Connection not authorized: invalid signature"}}"#]
    );
}

#[test]
fn a_watchlist_is_reported_once_and_then_by_its_changes() {
    let mut session = session(AppSettings::default());
    let data = r#"{\"id\":\"ann\",\"watchlist\":[\"bob\",\"cat\"]}"#;
    let signed = auth(&format!(":user::{}", data.replace('\\', "")));
    let asked = requests(receive(
        &mut session,
        &format!(r#"{{"event":"pusher:signin","data":{{"auth":"{signed}","user_data":"{data}"}}}}"#),
    ));
    let [(tag, Request::Identify { user, .. }), own, bob, cat] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(user.as_str(), "ann");
    for ((_, request), expected) in [own, bob, cat].into_iter().zip(["#online:ann", "#online:bob", "#online:cat"]) {
        let Request::Subscribe(subscribe) = request else { panic!("{request:?}") };
        assert_eq!(subscribe.channel.as_str(), expected);
    }
    let told = answer(&mut session, tag, Reply::Done);
    assert!(told[0].starts_with(r#"{"event":"pusher:signin_success","data":"{\"auth\":\"key:"#), "{told:?}");
    let state = |user: &str, members| Notice::PresenceState {
        channel: starling_core::ChannelName::online(&user.into()),
        members,
    };
    assert!(notify(&mut session, &state("bob", vec![entry(Some("bob"), "1", "{}", 1)])).is_empty());
    assert_eq!(
        notify(&mut session, &state("cat", Vec::new())),
        [
            r#"{"event":"pusher_internal:watchlist_events","data":"{\"events\":[{\"name\":\"online\",\"user_ids\":[\"bob\"]},{\"name\":\"offline\",\"user_ids\":[\"cat\"]}]}"}"#
        ]
    );
    assert_eq!(
        texts(receive(&mut session, r##"{"event":"pusher:subscribe","data":{"channel":"#server-to-user-ann"}}"##)),
        [r##"{"event":"pusher_internal:subscription_succeeded","data":"{}","channel":"#server-to-user-ann"}"##]
    );
}

#[test]
fn a_connection_keeps_its_user() {
    let mut session = session(AppSettings::default());
    let sign_in = |user: &str| {
        let data = serde_json::json!({ "id": user }).to_string();
        let fields = serde_json::json!({ "auth": auth(&format!(":user::{data}")), "user_data": data });
        serde_json::json!({ "event": "pusher:signin", "data": fields }).to_string()
    };
    assert_eq!(moves(&receive(&mut session, &sign_in("ann"))), ["+#online:ann"]);
    let told = texts(receive(&mut session, &sign_in("ann")));
    assert!(told[0].starts_with(r#"{"event":"pusher:signin_success","#), "{told:?}");
    assert_eq!(
        texts(receive(&mut session, &sign_in("bob"))),
        [r#"{"event":"pusher:error","data":{"code":4009,"message":"Connection is signed in as another user"}}"#]
    );
}

#[test]
fn a_watchlist_that_is_too_long_is_cut() {
    let mut session = session(AppSettings::default());
    // Not in the order of the alphabet, and one twice: it counts once.
    let watched: Vec<String> = (0..102).rev().map(|n| format!("u{n}")).chain(["u101".to_owned()]).collect();
    let data = serde_json::json!({ "id": "u3", "watchlist": watched }).to_string();
    let signed = auth(&format!(":user::{data}"));
    let fields = serde_json::json!({ "auth": signed, "user_data": data });
    let mut asked = receive(&mut session, &serde_json::json!({ "event": "pusher:signin", "data": fields }).to_string());
    let told: Vec<Action> = asked.extract_if(.., |action| matches!(action, Action::Send(_))).collect();
    assert_eq!(
        texts(told),
        [
            r#"{"event":"pusher:error","data":{"code":4302,"message":"Watchlist limit exceeded: only the first 100 user IDs are accepted"}}"#
        ]
    );
    // Its own channel comes first, and it watches itself there.
    let [Action::Request(_, Request::Identify { .. }), Action::Request(_, Request::Subscribe(own)), ..] = &asked[..]
    else {
        panic!("{asked:?}")
    };
    assert!(own.presence);
    let expected = ["u3".to_owned()].into_iter().chain((2..102).rev().filter(|n| *n != 3).map(|n| format!("u{n}")));
    assert_eq!(moves(&asked), expected.map(|user| format!("+#online:{user}")).collect::<Vec<_>>());
    // The report comes when all hundred are known.
    let mut told = Vec::new();
    for user in (2..102).map(|n| format!("u{n}")) {
        assert!(told.is_empty(), "{told:?}");
        let channel = starling_core::ChannelName::online(&user.as_str().into());
        told = notify(&mut session, &Notice::PresenceState { channel, members: Vec::new() });
    }
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with(r#"{"event":"pusher_internal:watchlist_events","#), "{told:?}");
}

#[test]
fn client_events_are_kept_as_the_rule_says_but_never_in_cache_channels() {
    let mut session = session(AppSettings::default());
    for (name, expected) in [("private-a", true), ("presence-a", true), ("private-cache-a", false)] {
        let text = format!(r#"{{"event":"client-x","channel":"{name}","data":1}}"#);
        let asked = requests(receive(&mut session, &text));
        let [(_, Request::PublishAs { kept, .. })] = &asked[..] else { panic!("{asked:?}") };
        assert_eq!(*kept, expected, "{name}");
    }
}

#[test]
fn an_open_session_goes_by_what_is_configured_now() {
    let app = Arc::new(LiveApp::new(App::new("key", SECRET, AppSettings::default())));
    let mut session = open(app.clone());
    let subscribe =
        |auth: &str| format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"private-a","auth":"{auth}"}}}}"#);
    assert_eq!(moves(&receive(&mut session, &subscribe(&auth("private-a")))), ["+private-a"]);
    app.configure(App::new("key", "another", AppSettings { client_events: false, ..AppSettings::default() }));
    let refused = texts(receive(&mut session, &subscribe(&auth("private-a"))));
    assert!(refused[0].contains("Invalid signature"), "{refused:?}");
    let signature = sign("another", format!("{SOCKET}:private-a").as_bytes());
    assert_eq!(moves(&receive(&mut session, &subscribe(&format!("key:{signature}")))), ["+private-a"]);
    let told = texts(receive(&mut session, r#"{"event":"client-x","channel":"private-a","data":1}"#));
    assert!(told[0].contains("does not have client events enabled"), "{told:?}");
}

#[test]
fn each_end_has_its_code() {
    for (reason, code) in [
        (CloseReason::Normal, 1000),
        (CloseReason::ProtocolError, 1002),
        (CloseReason::TooLarge, 1009),
        (CloseReason::Forbidden, 4009),
        (CloseReason::SlowConsumer, 4100),
        (CloseReason::Drain, 4200),
        (CloseReason::HeartbeatTimeout, 4201),
    ] {
        let mut session = session(AppSettings::default());
        assert_eq!(session.closing(reason).code.0, code, "{reason:?}");
        let mut actions = Vec::new();
        session.farewell(reason, &mut actions);
        assert_eq!(actions.len(), usize::from(code >= 4000), "{reason:?}");
    }
}

#[test]
fn who_was_told_why_is_not_told_twice() {
    let mut session = session(AppSettings::default());
    let refusal = Refusal::new(ErrorCode::Forbidden, "disconnected by the application");
    assert_eq!(
        notify(&mut session, &Notice::Error { refusal }),
        [r#"{"event":"pusher:error","data":{"code":4009,"message":"disconnected by the application"}}"#]
    );
    let mut actions = Vec::new();
    session.farewell(CloseReason::Forbidden, &mut actions);
    assert!(actions.is_empty());
}

#[test]
fn a_client_that_is_turned_away_hears_why() {
    let mut session = TurnedAway::new(4001, "App key x does not exist");
    let mut actions = Vec::new();
    let opened =
        starling_proto::Opened { connection: "1.2".into(), user: None, expires_at: None, authenticated: false };
    session.open(&opened, &mut actions);
    let Some(Action::Close(closing)) = actions.pop() else { panic!("it is closed") };
    assert_eq!((closing.code.0, closing.text.as_str()), (4001, "App key x does not exist"));
    assert_eq!(
        texts(actions),
        [r#"{"event":"pusher:error","data":{"code":4001,"message":"App key x does not exist"}}"#]
    );
}

#[test]
fn no_text_makes_it_panic() {
    let mut session = session(AppSettings::default());
    let whole = r#"{"event":"pusher:signin","channel":"private-a","data":{"channel":"presence-a","auth":"key:00","channel_data":"{\"user_id\":1e9}","user_data":"{\"id\":[]}"}}"#;
    for end in (0..whole.len()).filter(|end| whole.is_char_boundary(*end)) {
        receive(&mut session, &whole[..end]);
    }
    for event in ["pusher:subscribe", "pusher:unsubscribe", "client-x", "pusher:ping", "pusher:pong", "", "日"] {
        receive(&mut session, &whole.replace("pusher:signin", event));
    }
    let mut actions = Vec::new();
    session.receive(Packet::Binary(&[0, 255]), &mut actions);
    assert_eq!(actions.len(), 1);
}
