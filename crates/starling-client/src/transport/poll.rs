//! What comes down in the answers to polls.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use super::requests::{Answer, Requests};
use super::{Frame, ReadError};
use crate::connector::Connector;
use crate::error::{ConnectError, Failure};

/// How long the server holds a poll that has nothing to answer yet, in seconds.
const HOLD: u64 = 25;
/// How much longer its answer may take.
const SLACK: Duration = Duration::from_secs(10);

/// A poll that is on its way. The connection comes back with the answer.
type Polling = Pin<Box<dyn Future<Output = (Requests, Result<Answer, Failure>)> + Send>>;

/// A session of polls, one after the other.
pub(super) struct Polls {
    /// With a poll while one is on its way.
    requests: Option<Requests>,
    polling: Option<Polling>,
    /// When its answer is late.
    until: Instant,
    connection_id: String,
    cursor: String,
}

/// The answer to a poll.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Polled {
    cursor: String,
    messages: Vec<Box<RawValue>>,
    connection_id: String,
}

impl Polls {
    /// Opens a session. With the connection's id, and with what came along.
    pub(super) async fn open(
        connector: &Arc<Connector>,
        token: Option<&str>,
    ) -> Result<(Self, String, Vec<Frame>), Failure> {
        let mut requests = Requests::new(connector.clone());
        let answer = ask(&mut requests, None, token).await?;
        let Polled { cursor, messages, connection_id } = read(&answer)?;
        let requests = Some(requests);
        let polls =
            Self { requests, polling: None, until: Instant::now(), connection_id: connection_id.clone(), cursor };
        Ok((polls, connection_id, frames(messages)))
    }

    /// Nothing is read at present, so that a late answer says nothing.
    pub(super) fn pause(&mut self) {
        self.until = self.until.max(Instant::now() + SLACK);
    }

    /// What comes next; an empty answer is a sign of life. Cancel-safe: a poll that is on its way goes on when this is
    /// called again.
    ///
    /// # Errors
    ///
    /// That nothing will.
    pub(super) async fn next(&mut self, token: Option<&str>) -> Result<Vec<Frame>, ReadError> {
        if let Some(mut requests) = self.requests.take() {
            self.until = Instant::now() + Duration::from_secs(HOLD) + SLACK;
            let (cursor, token) = (self.cursor.clone(), token.map(str::to_owned));
            self.polling = Some(Box::pin(async move {
                let answer = ask(&mut requests, Some(&cursor), token.as_deref()).await;
                (requests, answer)
            }));
        }
        let polling = self.polling.as_mut().expect("on its way where there are no requests to make");
        let (requests, answer) = timeout_at(self.until, polling).await.map_err(|_| ReadError::Silent)?;
        (self.requests, self.polling) = (Some(requests), None);
        let polled = read(&answer.map_err(ReadError::Http)?).map_err(ReadError::Http)?;
        if polled.connection_id != self.connection_id {
            // Another session knows nothing of our subscriptions.
            return Err(ReadError::Io(io::Error::other("the server does not know the session any more")));
        }
        self.cursor = polled.cursor;
        if polled.messages.is_empty() {
            return Ok(vec![Frame::Pong]);
        }
        Ok(frames(polled.messages))
    }
}

async fn ask(requests: &mut Requests, cursor: Option<&str>, token: Option<&str>) -> Result<Answer, Failure> {
    let hold = HOLD.to_string();
    let parameters: &[(&str, &str)] = match cursor {
        Some(cursor) => &[("cursor", cursor), ("timeout", &hold)],
        None => &[],
    };
    let response = requests.get("poll", parameters, token, "application/json").await?;
    if response.status() != http::StatusCode::OK {
        return Err(requests.refusal(response).await);
    }
    requests.whole(response).await
}

fn read(answer: &Answer) -> Result<Polled, Failure> {
    serde_json::from_slice(&answer.body)
        .map_err(|error| ConnectError::Protocol(format!("the answer to a poll: {error}")).into())
}

fn frames(messages: Vec<Box<RawValue>>) -> Vec<Frame> {
    messages.into_iter().map(|message| Frame::Text(Box::<str>::from(message).into())).collect()
}
