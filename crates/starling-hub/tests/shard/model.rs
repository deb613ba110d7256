//! Random operations against a simple model.
//!
//! Two workers over one memory engine, their turns taken in any order, sockets of any size. The model knows what was
//! published, in order. Whatever happens, a member must have received everything after the position where it began,
//! once and in order, except what it was told is missing; and at rest a watcher's view is the engine's set.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use starling_core::{Backpressure, Delivery, Pending, PresenceAction, PresencePolicy, Rule};

use crate::rig::*;

const CLIENTS: usize = 5;
/// With history, delivered reliably, dropping, and as the latest; and one without history.
const CHANNELS: [&str; 4] = ["kept", "lossy", "state", "plain"];

#[derive(Debug, Clone)]
enum Op {
    Subscribe(usize, usize),
    Rewind(usize, usize, u32),
    Recover(usize, usize, u64),
    Unsubscribe(usize, usize),
    Publish(usize, usize),
    Burst(usize, u64),
    Clear(usize),
    Enter(usize, usize),
    Leave(usize, usize),
    Reconnect(usize),
    Turn(usize),
    Stall(usize),
    Take(usize, usize),
    Resume(usize),
    Pass,
}

fn op() -> impl Strategy<Value = Op> {
    let client = 0..CLIENTS;
    let channel = 0..CHANNELS.len();
    prop_oneof![
        3 => (client.clone(), channel.clone()).prop_map(|(c, ch)| Op::Subscribe(c, ch)),
        3 => (client.clone(), channel.clone(), 0..600u32).prop_map(|(c, ch, n)| Op::Rewind(c, ch, n)),
        3 => (client.clone(), channel.clone(), 0..600u64).prop_map(|(c, ch, n)| Op::Recover(c, ch, n)),
        2 => (client.clone(), channel.clone()).prop_map(|(c, ch)| Op::Unsubscribe(c, ch)),
        6 => (client.clone(), channel.clone()).prop_map(|(c, ch)| Op::Publish(c, ch)),
        3 => (channel.clone(), 1..400u64).prop_map(|(ch, n)| Op::Burst(ch, n)),
        1 => channel.clone().prop_map(Op::Clear),
        2 => (client.clone(), channel.clone()).prop_map(|(c, ch)| Op::Enter(c, ch)),
        1 => (client.clone(), channel.clone()).prop_map(|(c, ch)| Op::Leave(c, ch)),
        1 => client.clone().prop_map(Op::Reconnect),
        8 => (0..2usize).prop_map(Op::Turn),
        2 => client.clone().prop_map(Op::Stall),
        4 => (client.clone(), 1..3000usize).prop_map(|(c, n)| Op::Take(c, n)),
        2 => client.prop_map(Op::Resume),
        1 => Just(Op::Pass),
    ]
}

fn rules() -> Vec<Rule> {
    let present = |rule| Rule { presence: Some(PresencePolicy::default()), ..rule };
    vec![
        present(kept("kept", 500)),
        present(with_delivery(kept("lossy", 500), Delivery::Drop)),
        present(with_delivery(kept("state", 500), Delivery::Latest)),
        present(with_delivery(open("plain"), Delivery::Drop)),
    ]
}

/// What one connection should believe of one channel.
#[derive(Debug, Clone)]
struct Follower {
    /// The epoch that it is in, and the next offset; in a channel without history, the last number that it got.
    epoch: String,
    next: u64,
    /// Whether it was told that something is missing, and not how much.
    is_lost: bool,
    /// Whether it was told of a gap since the last message.
    was_told: bool,
    present: Option<BTreeSet<String>>,
}

struct Model {
    rig: Rig,
    clients: Vec<Client>,
    /// What each connection follows, as far as what it received tells.
    following: Vec<BTreeMap<String, Follower>>,
    /// Heads of logs, by channel: what was published.
    heads: BTreeMap<String, (String, u64)>,
    published: u64,
    wanted: BTreeMap<String, (usize, String, u64, Option<u64>)>,
}

impl Model {
    fn new() -> Self {
        let mut rig = Rig::new(Setup {
            rules: rules(),
            workers: 2,
            backpressure: Backpressure { high_water: 500, queue_messages: 20, queue_bytes: 2000 },
            ..Setup::default()
        });
        let clients = (0..CLIENTS).map(|n| rig.connect(n % 2, None, None)).collect();
        Self {
            rig,
            clients,
            following: vec![BTreeMap::new(); CLIENTS],
            heads: BTreeMap::new(),
            published: 0,
            wanted: BTreeMap::new(),
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Subscribe(client, channel) => self.ask(client, attend(CHANNELS[channel], None)),
            Op::Rewind(client, channel, count) => {
                self.ask(client, rewind(CHANNELS[channel], count));
            }
            Op::Recover(client, channel, offset) => {
                let channel = CHANNELS[channel];
                let epoch = self.heads.get(channel).map_or("none", |(epoch, _)| epoch).to_owned();
                let request = recover_from(channel, epoch.as_str().into(), offset);
                self.ask(client, request);
                let tag = self.rig.tags.to_string();
                self.wanted.insert(tag, (client, channel.to_owned(), offset, None));
            }
            Op::Unsubscribe(client, channel) => self.ask(client, unsubscribe(CHANNELS[channel])),
            Op::Publish(client, channel) => {
                self.published += 1;
                let text = self.published.to_string();
                self.ask(client, publish(CHANNELS[channel], &text));
            }
            Op::Burst(channel, count) => {
                for _ in 0..count {
                    self.published += 1;
                    let text = self.published.to_string();
                    let sent = self.rig.hub.publish(&app(), says(CHANNELS[channel], &text), None, self.rig.now.unix_ms);
                    let Pending::Ready(Ok(sent)) = sent else { panic!("the memory engine takes everything at once") };
                    if let Some(position) = sent.position {
                        let head = (position.epoch.to_string(), position.offset);
                        self.heads.insert(CHANNELS[channel].to_owned(), head);
                    }
                }
            }
            Op::Clear(channel) if channel < 3 => {
                let _ = self.rig.hub.engine().clear_history(&app(), &name(CHANNELS[channel]));
            }
            Op::Clear(_) => {}
            Op::Enter(client, channel) => {
                self.ask(client, presence(CHANNELS[channel], PresenceAction::Enter(None)));
            }
            Op::Leave(client, channel) => {
                self.ask(client, presence(CHANNELS[channel], PresenceAction::Leave));
            }
            Op::Reconnect(client) => {
                self.read(client);
                if !self.rig.clients[self.clients[client].0].gone {
                    self.rig.lose(self.clients[client]);
                }
                self.clients[client] = self.rig.connect(client % 2, None, None);
                self.following[client].clear();
            }
            Op::Turn(worker) => self.rig.turn(worker),
            Op::Stall(client) => self.rig.stall(self.clients[client]),
            Op::Take(client, bytes) => {
                let client = self.clients[client];
                if self.rig.clients[client.0].room.is_some() {
                    self.rig.take(client, bytes);
                }
            }
            Op::Resume(client) => self.rig.resume(self.clients[client]),
            Op::Pass => {
                self.rig.pass(std::time::Duration::from_secs(3));
            }
        }
        (0..CLIENTS).for_each(|client| self.read(client));
    }

    fn ask(&mut self, client: usize, request: starling_core::Request) {
        self.rig.ask(self.clients[client], request);
    }

    /// Believes what a connection received, and checks that it fits what it believed before.
    fn read(&mut self, client: usize) {
        for line in self.rig.seen_raw(self.clients[client]) {
            let words: Vec<&str> = line.split(' ').collect();
            let following = &mut self.following[client];
            match words.as_slice() {
                [tag, "subscribed", channel, at, rest @ ..] if tag.starts_with('#') => {
                    let (epoch, head) = position(at);
                    let recovered = rest.first().copied();
                    let asked = self.wanted.remove(&tag[1..]);
                    let next = match (recovered, asked) {
                        (Some("recovered"), Some((_, _, offset, _))) => offset + 1,
                        // A rewind begins anywhere up to the head: the first message tells.
                        _ => 0,
                    };
                    let next = if recovered == Some("lost") { head + 1 } else { next };
                    let follower = Follower { epoch, next, is_lost: false, was_told: false, present: None };
                    following.insert((*channel).to_owned(), follower);
                }
                [tag, "unsubscribed", channel] if tag.starts_with('#') => {
                    following.remove(*channel);
                }
                ["close", reason] => {
                    assert_eq!(*reason, "slow_consumer");
                    following.clear();
                }
                ["gap", channel, missed] => {
                    let follower = following.get_mut(*channel).expect("a member is told of gaps");
                    follower.was_told = true;
                    match missed.parse::<u64>().unwrap() {
                        0 => follower.is_lost = true,
                        missed if follower.next > 0 => follower.next += missed,
                        _ => {}
                    }
                }
                ["present", channel, ..] => {
                    let list = line.split_once('[').unwrap().1.trim_end_matches(']');
                    let members = list.split_whitespace().map(str::to_owned).collect();
                    following.get_mut(*channel).expect("a member").present = Some(members);
                }
                ["diff", channel, changes @ ..] => {
                    let follower = following.get_mut(*channel).expect("a member");
                    let present = follower.present.as_mut().expect("the state comes first");
                    for leave in changes.iter().filter_map(|change| change.strip_prefix('-')) {
                        present.remove(leave);
                    }
                    for join in changes.iter().filter_map(|change| change.strip_prefix('+')) {
                        present.insert(join.to_owned());
                    }
                }
                [tag, ..] if tag.starts_with('#') => {}
                [channel, at, number] => {
                    let follower = following
                        .get_mut(*channel)
                        .unwrap_or_else(|| panic!("{line:?} for {client}, who is no member"));
                    let (epoch, offset) = match *at {
                        "-" => (String::new(), number.parse().unwrap()),
                        at => position(at),
                    };
                    if *at == "-" {
                        assert!(offset >= follower.next, "{line:?}: after {}", follower.next);
                    } else if epoch != follower.epoch {
                        // A cleared log goes on at its start, unless the member was told.
                        assert!(follower.was_told || offset == 1, "{line:?}: in {follower:?}");
                        follower.epoch = epoch;
                    } else if !follower.is_lost && follower.next > 0 {
                        assert_eq!(offset, follower.next, "{line:?}: to {client}");
                    }
                    follower.next = offset + 1;
                    follower.is_lost = false;
                    follower.was_told = false;
                }
                _ => panic!("unexpected: {line:?}"),
            }
        }
    }

    /// Lets everything come to rest, and checks what everybody has.
    fn finish(&mut self) {
        for client in 0..CLIENTS {
            self.rig.resume(self.clients[client]);
        }
        self.rig.settle();
        (0..CLIENTS).for_each(|client| self.read(client));
        // One more message in each channel: every member gets it, so that nobody was left behind.
        for channel in CHANNELS {
            self.published += 1;
            let text = self.published.to_string();
            self.rig.say(channel, &text);
        }
        self.rig.settle();
        for client in 0..CLIENTS {
            self.read(client);
            for (channel, follower) in &self.following[client] {
                let head = self.head(channel);
                if let Some((epoch, offset)) = head {
                    assert_eq!((&follower.epoch, follower.next), (&epoch, offset + 1), "{client} in {channel} at rest");
                }
                if let Some(present) = &follower.present {
                    assert_eq!(*present, self.present(channel), "{client} in {channel}");
                }
            }
        }
        for client in 0..CLIENTS {
            if !self.rig.clients[self.clients[client].0].gone {
                self.rig.lose(self.clients[client]);
            }
        }
        for channel in CHANNELS {
            assert_eq!(self.present(channel), BTreeSet::new(), "everybody left");
        }
        let counters = self.rig.hub.counters().of(&app());
        use std::sync::atomic::Ordering::Relaxed;
        assert_eq!(counters.members.load(Relaxed), 0);
    }

    fn head(&self, channel: &str) -> Option<(String, u64)> {
        let range = starling_core::HistoryRange { limit: 0, before: None, after: None };
        match self.rig.hub.history(&app(), &name(channel), range, self.rig.now.unix_ms) {
            Pending::Ready(Ok(page)) => Some((page.head.epoch.to_string(), page.head.offset)),
            _ => None,
        }
    }

    fn present(&self, channel: &str) -> BTreeSet<String> {
        let Pending::Ready(snapshot) = self.rig.hub.engine().members(&app(), &name(channel)) else {
            panic!("the memory engine answers at once")
        };
        let members = snapshot.unwrap().members;
        members.iter().map(|entry| format!("{}{}", entry.connection, entry.data.as_str())).collect()
    }
}

/// `<epoch>:offset`, or nothing.
fn position(text: &str) -> (String, u64) {
    match text.split_once(':') {
        Some((epoch, offset)) => (epoch.to_owned(), offset.parse().unwrap()),
        None => (String::new(), 0),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn every_member_gets_everything_once_or_is_told(ops in prop::collection::vec(op(), 1..120)) {
        let mut model = Model::new();
        for op in &ops {
            model.apply(op);
        }
        model.finish();
    }
}
