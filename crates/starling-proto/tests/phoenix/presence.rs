//! Presence as the official class reads it.

use serde_json::Value;
use starling_core::{Notice, Outgoing, PresenceDiff};
use starling_proto::phoenix::{Serializer, encode};

use crate::{Talk, channel, entry, written};

fn diff(diff: &PresenceDiff) -> Value {
    let mut out = Vec::new();
    encode(Serializer::V2, &Outgoing::PresenceDiff(&channel("room:a"), diff), &mut out);
    let frame: Value = serde_json::from_str(&written(&out[0])).unwrap();
    assert_eq!(frame[3], "presence_diff");
    frame[4].clone()
}

#[test]
fn metas_of_one_user_stand_together() {
    let joins = vec![
        entry(Some("bob"), "c1", r#"{"on":"phone"}"#, 1),
        entry(None, "c2", "{ }", 2),
        entry(Some("bob"), "c3", r#"{"on":"desk"}"#, 3),
    ];
    let told = diff(&PresenceDiff { joins, ..PresenceDiff::default() });
    let metas = told["joins"]["bob"]["metas"].as_array().unwrap();
    assert_eq!((&metas[0]["on"], &metas[1]["on"]), (&"phone".into(), &"desk".into()));
    assert_eq!(told["joins"]["c2"]["metas"].as_array().unwrap().len(), 1, "nobody is known by the connection");
    assert_eq!(told["leaves"], serde_json::json!({}));
    let refs: Vec<&str> = metas.iter().map(|meta| meta["phx_ref"].as_str().unwrap()).collect();
    assert_ne!(refs[0], refs[1]);
    assert_eq!(refs[0].len(), 16);
}

#[test]
fn an_update_is_a_leave_and_a_join_that_names_it() {
    let (old, new) = (entry(Some("bob"), "c1", r#"{"n":1}"#, 1), entry(Some("bob"), "c1", r#"{"n":2}"#, 5));
    let told = diff(&PresenceDiff { joins: vec![new], replaced: vec![old], ..PresenceDiff::default() });
    let (join, leave) = (&told["joins"]["bob"]["metas"][0], &told["leaves"]["bob"]["metas"][0]);
    assert_eq!((&join["n"], &leave["n"]), (&2.into(), &1.into()));
    assert_eq!(join["phx_ref_prev"], leave["phx_ref"]);
    assert_ne!(join["phx_ref"], leave["phx_ref"]);
}

#[test]
fn who_changes_and_leaves_in_one_difference_leaves_as_it_was_known() {
    let (old, new) = (entry(Some("bob"), "c1", r#"{"n":1}"#, 1), entry(Some("bob"), "c1", r#"{"n":2}"#, 5));
    let mut both = PresenceDiff { joins: vec![new.clone()], replaced: vec![old.clone()], ..PresenceDiff::default() };
    both.append(PresenceDiff { leaves: vec![new], ..PresenceDiff::default() });
    let known = diff(&PresenceDiff { leaves: vec![old], ..PresenceDiff::default() });
    assert_eq!(diff(&both), known);
}

#[test]
fn the_references_of_a_state_are_the_same_for_all_who_see_it() {
    let present = entry(Some("ann"), "c2", "{}", 9);
    let mut talk = Talk::new(Serializer::V2);
    talk.joins("1", "room:a");
    let state = Notice::PresenceState { channel: channel("room:a"), members: vec![present.clone()] };
    let told = talk.notices(&state).remove(0);
    let state: Value = serde_json::from_str(told.strip_prefix("send ").unwrap()).unwrap();
    assert_eq!((&state[0], &state[1], &state[3]), (&"1".into(), &Value::Null, &"presence_state".into()));
    let joined = diff(&PresenceDiff { joins: vec![present], ..PresenceDiff::default() });
    assert_eq!(state[4], joined["joins"]);
}

#[test]
fn a_member_sees_itself_join_once() {
    let mut talk = Talk::new(Serializer::V2);
    talk.joins("1", "room:a");
    let state = Notice::PresenceState {
        channel: channel("room:a"),
        members: vec![entry(Some("bob"), "c1", r#"{"a":1}"#, 2), entry(Some("ann"), "c2", "{}", 1)],
    };
    let told = talk.notices(&state);
    assert_eq!(told.len(), 2);
    assert!(told[0].contains("ann") && !told[0].contains("bob"), "{}", told[0]);
    assert!(
        told[1].starts_with(r#"send [null,null,"room:a","presence_diff",{"joins":{"bob":{"metas":[{"a":1,"phx_ref":"#)
    );
    let again = talk.notices(&state);
    assert_eq!(again.len(), 1, "a state that comes later is the whole of it");
    assert!(again[0].contains("ann") && again[0].contains("bob"));
}
