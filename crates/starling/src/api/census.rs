//! Asking everybody: this node's workers, then the other nodes, and putting their answers together.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use starling_core::{Answer, AppId, ChannelName, ErrorCode, Occupancy, Query, Refusal, Survey, UserId};
use starling_hub::Hub;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::mailbox::connection_named;
use crate::shared::Shared;

/// How long a worker may take to answer. Its turns take milliseconds, so one that needs longer is in trouble.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which channels are occupied, and by whom, in the order of their names.
#[derive(Debug, Default)]
pub(crate) struct Census(BTreeMap<ChannelName, Occupancy>);

/// One channel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Headcount {
    pub channel: ChannelName,
    /// Connections.
    pub members: u64,
    /// Their distinct users.
    pub users: u64,
}

impl Census {
    /// Puts answers together: members are added up, a user counts once.
    pub fn of(answers: Vec<Answer>) -> Self {
        let mut channels: BTreeMap<ChannelName, Occupancy> = BTreeMap::new();
        for answer in answers {
            let Answer::Channels(part) = answer else { continue };
            for (channel, occupancy) in part.into_iter().filter(|(_, occupancy)| occupancy.members > 0) {
                let whole = channels.entry(channel).or_default();
                whole.members += occupancy.members;
                whole.users.extend(occupancy.users);
            }
        }
        Self(channels)
    }

    /// How many channels are occupied.
    pub fn channels(&self) -> u64 {
        self.0.len() as u64
    }

    /// How many memberships there are in them.
    pub fn members(&self) -> u64 {
        self.0.values().map(|occupancy| occupancy.members).sum()
    }

    /// At most `limit` channels whose names come after `after`, and whether there are more.
    pub fn page(&self, after: Option<&str>, limit: usize) -> (Vec<Headcount>, bool) {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.0.range::<str, _>((start, Bound::Unbounded));
        let page = rest.by_ref().take(limit).map(|(channel, occupancy)| Headcount::of(channel, occupancy)).collect();
        (page, rest.next().is_some())
    }

    /// One channel; nobody is in one that is not there.
    pub fn channel(&self, channel: &ChannelName) -> Headcount {
        Headcount::of(channel, self.0.get(channel).unwrap_or(&Occupancy::default()))
    }
}

impl Headcount {
    fn of(channel: &ChannelName, occupancy: &Occupancy) -> Self {
        let mut users: Vec<&UserId> = occupancy.users.iter().collect();
        users.sort_unstable();
        users.dedup();
        Self { channel: channel.clone(), members: occupancy.members, users: users.len() as u64 }
    }
}

/// Asks this node's workers and every other node. Other nodes that do not answer in time are left out.
pub(crate) async fn ask(shared: &Shared, app: &AppId, query: &Query) -> Result<Vec<Answer>, Refusal> {
    ask_hub(&shared.hub, app, query).await
}

/// The same, for whoever has no more than the hub.
pub(crate) async fn ask_hub(hub: &Hub, app: &AppId, query: &Query) -> Result<Vec<Answer>, Refusal> {
    let others = hub.engine().survey(app, query.clone());
    let mut answers = ask_workers(hub, app, query).await?;
    answers.extend(others.wait().await?);
    Ok(answers)
}

/// Asks this node's workers.
pub(crate) async fn ask_here(shared: &Shared, app: &AppId, query: &Query) -> Result<Vec<Answer>, Refusal> {
    ask_workers(&shared.hub, app, query).await
}

pub(crate) async fn ask_workers(hub: &Hub, app: &AppId, query: &Query) -> Result<Vec<Answer>, Refusal> {
    let workers = hub.inboxes().len();
    let (sender, mut receiver) = mpsc::channel(workers.max(1));
    hub.ask_workers(app, query, move |answer| {
        // Each worker answers once, so there is room; nobody to hear it means that the caller has gone away.
        let _ = sender.try_send(answer);
    });
    let collect = async {
        let mut answers = Vec::with_capacity(workers);
        while answers.len() < workers {
            match receiver.recv().await {
                Some(answer) => answers.push(answer),
                None => return None,
            }
        }
        Some(answers)
    };
    let answers = timeout(PATIENCE, collect).await.ok().flatten();
    answers.ok_or_else(|| Refusal::new(ErrorCode::Internal, "a worker did not answer in time"))
}

/// Finds a connection, wherever it is.
pub(crate) async fn find(shared: &Shared, app: &AppId, connection: &str) -> Result<Option<Survey>, Refusal> {
    let query = Query::Connection { connection: connection_named(connection) };
    let found = |answers: Vec<Answer>| {
        answers.into_iter().find_map(|answer| match answer {
            Answer::Connection(survey) => survey,
            _ => None,
        })
    };
    match found(ask_here(shared, app, &query).await?) {
        Some(survey) => Ok(Some(survey)),
        // Most are here; only then is it worth asking everybody.
        None => Ok(found(shared.hub.engine().survey(app, query).wait().await?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(channels: &[(&str, u64, &[&str])]) -> Answer {
        let channels = channels.iter().map(|(channel, members, users)| {
            let users = users.iter().map(|user| UserId::from(*user)).collect();
            (ChannelName::parse(channel).unwrap(), Occupancy { members: *members, users })
        });
        Answer::Channels(channels.collect())
    }

    fn names(census: &Census, after: Option<&str>, limit: usize) -> (Vec<String>, bool) {
        let (page, more) = census.page(after, limit);
        (page.iter().map(|count| count.channel.to_string()).collect(), more)
    }

    #[test]
    fn members_are_added_up_and_users_counted_once() {
        let census = Census::of(vec![
            answer(&[("b", 3, &["ann", "bob"]), ("a", 1, &[])]),
            answer(&[("b", 2, &["ann", "eve"]), ("empty", 0, &[])]),
            answer(&[]),
        ]);
        let headcount =
            |name: &str, members, users| Headcount { channel: ChannelName::parse(name).unwrap(), members, users };
        assert_eq!(census.page(None, 10), (vec![headcount("a", 1, 0), headcount("b", 5, 3)], false));
        assert_eq!(census.channel(&ChannelName::parse("b").unwrap()), headcount("b", 5, 3));
        assert_eq!(census.channel(&ChannelName::parse("c").unwrap()), headcount("c", 0, 0));
        assert_eq!((census.channels(), census.members()), (2, 6));
    }

    #[test]
    fn pages_follow_each_other() {
        let census = Census::of(vec![answer(&[("c", 1, &[]), ("a", 1, &[])]), answer(&[("b", 1, &[]), ("d", 1, &[])])]);
        let page = |after, limit| names(&census, after, limit);
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(page(None, 2), (owned(&["a", "b"]), true));
        assert_eq!(page(Some("b"), 2), (owned(&["c", "d"]), false));
        assert_eq!(page(Some("bb"), 1), (owned(&["c"]), true));
        assert_eq!(page(Some("d"), 2), (owned(&[]), false));
    }
}
