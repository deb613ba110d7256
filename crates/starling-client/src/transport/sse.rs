//! What comes down as server-sent events on `/sse`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::header;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use starling_core::Refusal;
use starling_proto::native::KEEP_ALIVE;
use tokio::time::{Instant, timeout_at};

use super::events::{EventReader, StreamEvent};
use super::requests::Requests;
use super::{Frame, ReadError};
use crate::connector::Connector;
use crate::error::{ConnectError, Failure};
use crate::wire::Incoming as Message;

/// How long nothing may come before the stream is taken for dead: a good deal longer than between two comments.
const SILENCE: Duration = KEEP_ALIVE.saturating_add(Duration::from_secs(10));

/// An event stream.
pub(super) struct Stream {
    /// Keeps its connection.
    _requests: Requests,
    body: Incoming,
    reader: EventReader,
    heard: Instant,
    /// Close code and words of an error that answers no request, while it is the last thing that came: why the stream ends.
    complaint: Option<(u16, String)>,
}

/// What the first event says.
#[derive(Deserialize)]
struct Ready {
    #[serde(rename = "connectionId")]
    connection_id: String,
}

impl Stream {
    /// Opens a stream without channels, and waits until it is ready. With the connection's id, and with what came along.
    pub(super) async fn open(
        connector: &Arc<Connector>,
        token: Option<&str>,
    ) -> Result<(Self, String, Vec<Frame>), Failure> {
        let mut requests = Requests::new(connector.clone());
        let response = requests.get("sse", &[], token, "text/event-stream").await?;
        if response.status() != http::StatusCode::OK {
            return Err(requests.refusal(response).await);
        }
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.to_ascii_lowercase().starts_with("text/event-stream") {
            return Err(ConnectError::Protocol(format!("{kind:?} is no event stream")).into());
        }
        let reader = EventReader::new(connector.max_message.saturating_add(1024));
        let body = response.into_body();
        let mut stream = Self { _requests: requests, body, reader, heard: Instant::now(), complaint: None };
        loop {
            let events = stream.events().await.map_err(|error| stopped(connector, error))?;
            let mut events = events.into_iter();
            // A server that closes at once says why before it says that it is ready.
            while let Some(event) = events.next() {
                if event.name == "ready" {
                    let ready: Ready = serde_json::from_str(&event.data)
                        .map_err(|error| ConnectError::Protocol(format!("the stream's first event: {error}")))?;
                    let frames = events.filter_map(|event| stream.frame(event)).collect();
                    return Ok((stream, ready.connection_id, frames));
                }
                stream.frame(event);
            }
        }
    }

    /// What comes next. A comment is a sign of life. Cancel-safe.
    ///
    /// # Errors
    ///
    /// That nothing will.
    pub(super) async fn next(&mut self) -> Result<Vec<Frame>, ReadError> {
        match self.events().await {
            Ok(events) if events.is_empty() => Ok(vec![Frame::Pong]),
            Ok(events) => Ok(events.into_iter().filter_map(|event| self.frame(event)).collect()),
            Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => match self.complaint.take() {
                Some((code, reason)) => Ok(vec![Frame::Close(Some(code), reason)]),
                None => Err(ReadError::Io(error)),
            },
            Err(error) => Err(error),
        }
    }

    /// Nothing is read at present, so that silence says nothing.
    pub(super) fn pause(&mut self) {
        self.heard = Instant::now();
    }

    /// The events of one read.
    async fn events(&mut self) -> Result<Vec<StreamEvent>, ReadError> {
        let read = timeout_at(self.heard + SILENCE, self.body.frame()).await.map_err(|_| ReadError::Silent)?;
        self.heard = Instant::now();
        let frame = match read {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Err(ReadError::Io(io::Error::other(error))),
            None => return Err(ReadError::Io(io::ErrorKind::UnexpectedEof.into())),
        };
        let mut events = Vec::new();
        if let Some(bytes) = frame.data_ref() {
            let fed = self.reader.feed(bytes, &mut events);
            fed.map_err(|error| ReadError::Http(ConnectError::Protocol(error).into()))?;
        }
        Ok(events)
    }

    fn frame(&mut self, event: StreamEvent) -> Option<Frame> {
        self.complaint = match event.name.as_str() {
            "ready" => return None,
            "error" => match Message::parse(&event.data) {
                Ok(Message::Error(None, refusal)) => close_code(&refusal).map(|code| (code, refusal.to_string())),
                _ => None,
            },
            _ => None,
        };
        Some(Frame::Text(event.data))
    }
}

/// The close code that a WebSocket would be closed with behind this error, which says that coming back is of no use.
fn close_code(refusal: &Refusal) -> Option<u16> {
    match &*refusal.code {
        "AUTH_REQUIRED" => Some(4001),
        "TOKEN_EXPIRED" | "TOKEN_INVALID" => Some(4002),
        "FORBIDDEN" => Some(4003),
        "RATE_LIMITED" => Some(4029),
        _ => None,
    }
}

fn stopped(connector: &Connector, error: ReadError) -> Failure {
    match error {
        ReadError::Http(failure) => failure,
        ReadError::Io(error) => connector.io(error).into(),
        ReadError::Silent | ReadError::Peer(_) => connector.io(io::ErrorKind::TimedOut.into()).into(),
    }
}
