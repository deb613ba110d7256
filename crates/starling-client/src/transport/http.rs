//! A session over HTTP: one task carries what comes down and posts what goes up.
//!
//! The task owns all connections of the session; the two halves here only hold its queues. It ends with the
//! [`Reader`], wherever it stands.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use starling_proto::native::{Encoding, msgpack};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::answer;
use super::order::{Order, Sent};
use super::poll::Polls;
use super::requests::{Answer, Requests};
use super::sse::Stream;
use super::{Frame, ReadError, Transport};
use crate::connector::Connector;
use crate::error::Failure;
use crate::wire::Fields;

/// Frames that have come down and were not read, before nothing more is taken from the network.
const FRAMES: usize = 16;
/// How long the server may take to answer a message.
const SEND_TIMEOUT: Duration = Duration::from_secs(20);

/// A message that is being posted. The connection comes back with the answer.
type Posting = Pin<Box<dyn Future<Output = (Requests, Sent, Result<Answer, ReadError>)> + Send>>;

/// The receiving half. The session ends when it is dropped.
pub(crate) struct Reader {
    frames: mpsc::Receiver<Result<Frame, ReadError>>,
    _session: JoinSet<()>,
}

/// The sending half: messages wait in it until [`Writer::flush`] is driven. They are posted one after the other.
pub(crate) struct Writer {
    outgoing: mpsc::Sender<Outgoing>,
    waiting: VecDeque<Outgoing>,
    bytes: usize,
    /// How messages are written that are given to it. They are posted as JSON.
    encoding: Encoding,
}

enum Outgoing {
    Message(Bytes),
    Close,
}

/// What comes down.
enum Down {
    Stream(Box<Stream>),
    Polls(Polls),
}

/// Opens a session.
pub(super) async fn open(
    connector: &Arc<Connector>,
    transport: Transport,
    token: Option<&str>,
) -> Result<(Reader, Writer), Failure> {
    let (down, connection_id, came) = match transport {
        Transport::Poll => {
            let (polls, id, frames) = Polls::open(connector, token).await?;
            (Down::Polls(polls), id, frames)
        }
        Transport::Sse | Transport::WebSocket => {
            let (stream, id, frames) = Stream::open(connector, token).await?;
            (Down::Stream(Box::new(stream)), id, frames)
        }
    };
    let (frames, read) = mpsc::channel(FRAMES);
    let (outgoing, taken) = mpsc::channel(1);
    let session = Session {
        requests: Some(Requests::new(connector.clone())),
        down,
        order: Order::default(),
        ready: came.into(),
        connection_id,
        token: token.map(str::to_owned),
    };
    let mut task = JoinSet::new();
    task.spawn(session.run(taken, frames));
    let writer = Writer { outgoing, waiting: VecDeque::new(), bytes: 0, encoding: connector.encoding };
    Ok((Reader { frames: read, _session: task }, writer))
}

impl Reader {
    pub(super) async fn read(&mut self, frames: &mut VecDeque<Frame>) -> Result<(), ReadError> {
        let first = self.frames.recv().await;
        frames.push_back(first.unwrap_or_else(|| Err(ReadError::Io(io::ErrorKind::UnexpectedEof.into())))?);
        Ok(())
    }
}

impl Writer {
    pub(super) fn message(&mut self, message: &[u8]) -> io::Result<()> {
        let message = match self.encoding {
            Encoding::Json => Bytes::copy_from_slice(message),
            Encoding::Msgpack => msgpack::client::to_json(message).map_err(io::Error::other)?.into(),
        };
        self.bytes += message.len();
        self.waiting.push_back(Outgoing::Message(message));
        Ok(())
    }

    pub(super) fn close(&mut self) {
        self.waiting.push_back(Outgoing::Close);
    }

    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_flushed(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            let room = self.outgoing.reserve().await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            let Some(outgoing) = self.waiting.pop_front() else { break };
            if let Outgoing::Message(message) = &outgoing {
                self.bytes -= message.len();
            }
            room.send(outgoing);
        }
        Ok(())
    }
}

impl Down {
    async fn next(&mut self, token: Option<&str>) -> Result<Vec<Frame>, ReadError> {
        match self {
            Self::Stream(stream) => stream.next().await,
            Self::Polls(polls) => polls.next(token).await,
        }
    }

    /// Nothing is read at present, so that silence says nothing.
    fn pause(&mut self) {
        match self {
            Self::Stream(stream) => stream.pause(),
            Self::Polls(polls) => polls.pause(),
        }
    }
}

/// What the task owns.
struct Session {
    /// For posts. Elsewhere while one is on its way.
    requests: Option<Requests>,
    down: Down,
    order: Order,
    /// To be read.
    ready: VecDeque<Frame>,
    connection_id: String,
    token: Option<String>,
}

impl Session {
    async fn run(mut self, mut outgoing: mpsc::Receiver<Outgoing>, incoming: mpsc::Sender<Result<Frame, ReadError>>) {
        let end = self.carry(&mut outgoing, &incoming).await;
        // What came before the end is told before it.
        for frame in self.ready.drain(..) {
            let _ = incoming.send(Ok(frame)).await;
        }
        let _ = incoming.send(end).await;
        // A writer that finds its queue gone would report that, and not the reason.
        incoming.closed().await;
    }

    /// Carries messages until the session ends: by a close frame, or by what is wrong.
    async fn carry(
        &mut self,
        outgoing: &mut mpsc::Receiver<Outgoing>,
        incoming: &mpsc::Sender<Result<Frame, ReadError>>,
    ) -> Result<Frame, ReadError> {
        let mut posting: Option<Posting> = None;
        loop {
            let has_ready = !self.ready.is_empty();
            // Who does not read is not read for.
            let reads_on = !has_ready && !self.order.is_full();
            if !reads_on {
                self.down.pause();
            }
            tokio::select! {
                room = incoming.reserve(), if has_ready => match (room, self.ready.pop_front()) {
                    (Ok(room), Some(frame)) => room.send(Ok(frame)),
                    _ => return Err(ReadError::Io(io::ErrorKind::BrokenPipe.into())),
                },
                next = outgoing.recv(), if posting.is_none() => match next {
                    Some(Outgoing::Message(message)) => posting = Some(self.post(message)),
                    Some(Outgoing::Close) => {
                        self.leave().await;
                        return Ok(Frame::Close(Some(1000), String::new()));
                    }
                    None => return Err(ReadError::Io(io::ErrorKind::BrokenPipe.into())),
                },
                (requests, sent, answer) = async { posting.as_mut().expect("guarded").await }, if posting.is_some() => {
                    posting = None;
                    self.requests = Some(requests);
                    self.answered(&sent, answer?)?;
                }
                came = self.down.next(self.token.as_deref()), if reads_on => {
                    for frame in came? {
                        match frame {
                            Frame::Text(text) => self.order.came_down(text, &mut self.ready),
                            Frame::Close(..) => return Ok(frame),
                            other => self.ready.push_back(other),
                        }
                    }
                }
            }
        }
    }

    fn post(&mut self, message: Bytes) -> Posting {
        let sent = Sent::read(&message);
        self.order.posting(&sent);
        let mut requests = self.requests.take().expect("one message is posted at a time");
        let (connection_id, token) = (self.connection_id.clone(), self.token.clone());
        Box::pin(async move {
            let parameters = [("connectionId", connection_id.as_str())];
            let posted = requests.post("send", &parameters, token.as_deref(), message);
            let answer = match timeout(SEND_TIMEOUT, posted).await {
                Ok(answer) => answer.map_err(ReadError::Http),
                Err(_) => Err(ReadError::Silent),
            };
            (requests, sent, answer)
        })
    }

    fn answered(&mut self, sent: &Sent, answer: Answer) -> Result<(), ReadError> {
        let is_taken = sent.kind == "auth" && answer.status == 200;
        let answer = answer::read(sent, &answer)?;
        // A token that the server has taken is the one to come with from now on.
        if is_taken {
            self.token.clone_from(&sent.token);
        }
        self.order.answered(sent, answer, &mut self.ready);
        Ok(())
    }

    /// Takes all subscriptions back, so that presence is left at once and not when the server misses this session.
    async fn leave(&mut self) {
        let channels: Vec<String> = self.order.joined().map(str::to_owned).collect();
        for channel in channels {
            let unsubscribe = Fields { channel: Some(&channel), ..Fields::new("unsubscribe") };
            let (requests, _, answer) = self.post(unsubscribe.write(Encoding::Json)).await;
            self.requests = Some(requests);
            if answer.is_err() {
                return;
            }
        }
    }
}
