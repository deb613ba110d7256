//! Connections that HTTP requests speak for: opened without a socket, asked, fed, and emptied by whoever has their name.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use starling_core::{AppId, CloseReason, ConnectionId, ErrorCode, NodeId, Refusal, Reply, Request, UserId};
use starling_hub::Slot;
use starling_proto::native::Cursor;
use starling_proto::{OwnedPacket, Session};
use tokio::sync::oneshot;

use crate::auth::Claims;
use crate::gate::Permit;
use crate::listener::RawSocket;
use crate::sessions::Place;
use crate::shared::Shared;
use crate::upgrade::Admitted;
use crate::worker::{Errand, Fetched, Framing, Newcomer, Order, Transport, WorkerHandle, new_connection_id};

/// A hold on one such connection. The connection does not end with it.
#[derive(Clone)]
pub(crate) struct Mailbox {
    worker: usize,
    handle: WorkerHandle,
    slot: Slot,
}

/// Where a session is.
pub(crate) enum Found {
    /// On this node.
    Here(Mailbox, Place),
    /// On another, which answers requests for it.
    Elsewhere(NodeId),
    /// Nowhere: it ended, or never was.
    Nowhere,
}

/// The connection ended meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

impl From<Gone> for Refusal {
    fn from(Gone: Gone) -> Self {
        Self::new(ErrorCode::Internal, "the session ended meanwhile")
    }
}

/// How a connection is opened.
pub(crate) struct Opening {
    /// The name under which requests find it; see [`new_key`].
    pub key: Arc<str>,
    /// By whose credentials requests may speak for it.
    pub owner: (AppId, Option<UserId>),
    pub framing: Framing,
    /// How long nobody may come before the client counts as lost.
    pub patience: Duration,
    pub session: Box<dyn Session + Send>,
    pub permit: Permit,
    /// It comes for one request and is nobody's connection: the application is not told of it.
    pub is_guest: bool,
}

/// A name for a session: nobody can guess it, and it tells which node has it.
pub(crate) fn new_key(shared: &Shared) -> Arc<str> {
    format!("{}.{}", shared.hub.engine().node(), new_connection_id()).into()
}

/// What stands between the id of a connection and the secret of its session.
const SECRET: char = '~';

/// The id of a new connection, and the name under which requests speak for it.
///
/// Where a token shows whose request it is, they are the same. Where none does, whoever knows the name is the client; and
/// since everybody hears of ids, in presence for example, the name has a secret behind the id that only the client is told.
pub(crate) fn new_names(shared: &Shared, has_token: bool) -> (ConnectionId, Arc<str>) {
    let id = new_key(shared);
    let key = if has_token { id.clone() } else { format!("{id}{SECRET}{}", new_connection_id()).into() };
    (ConnectionId::new(id), key)
}

/// The connection that somebody calls by its id, or by the name of its session.
pub(crate) fn connection_named(name: &str) -> ConnectionId {
    ConnectionId::from(name.split_once(SECRET).map_or(name, |(id, _)| id))
}

impl Mailbox {
    /// Opens a connection on the worker with the fewest.
    pub async fn open(shared: &Shared, admitted: Admitted, opening: Opening) -> Result<Self, Gone> {
        let Admitted { identity, expires_at, admitted, effects } = admitted;
        let Opening { key, owner, framing, patience, session, permit, is_guest } = opening;
        let transport = Transport::Mailbox { framing, key, owner, patience };
        let newcomer = Newcomer { transport, session, identity, expires_at, admitted, effects, permit, is_guest };
        let (worker, slot) = shared.place(newcomer).await.ok_or(Gone)?;
        Ok(Self { worker, handle: shared.workers[worker].clone(), slot })
    }

    /// Looks for a session by its name.
    pub fn find(shared: &Shared, key: &str) -> Found {
        if let Some(place) = shared.sessions.find(key) {
            let handle = shared.workers[place.worker].clone();
            return Found::Here(Self { worker: place.worker, handle, slot: place.slot }, place);
        }
        match key.split_once('.') {
            Some((node, _)) if is_node(node) && node != shared.hub.engine().node().as_str() => {
                Found::Elsewhere(NodeId::from(node))
            }
            _ => Found::Nowhere,
        }
    }

    /// Which worker has it, and where.
    pub fn place(&self) -> (usize, Slot) {
        (self.worker, self.slot)
    }

    /// Has the session hear packets, in their order; returns when it has.
    pub async fn deposit(&self, packets: Vec<OwnedPacket>) -> Result<(), Gone> {
        let (done, heard) = oneshot::channel();
        self.handle.order(Order::Errand(self.slot, Errand::Packets { packets: packets.into(), done }));
        heard.await.map_err(|_| Gone)
    }

    /// Asks something as the connection: one message of its client.
    pub async fn ask(&self, request: Request) -> Result<Reply, Gone> {
        self.put(request, true).await
    }

    /// Asks something that is part of what was asked before: no further message.
    pub async fn ask_on(&self, request: Request) -> Result<Reply, Gone> {
        self.put(request, false).await
    }

    async fn put(&self, request: Request, counts: bool) -> Result<Reply, Gone> {
        let (answer, answered) = oneshot::channel();
        self.handle.order(Order::Errand(self.slot, Errand::Ask { request, counts, answer }));
        answered.await.map_err(|_| Gone)
    }

    /// Has it live on with a newer token of its user.
    pub fn renew(&self, claims: Claims) {
        self.handle.order(Order::Errand(self.slot, Errand::Renew(Box::new(claims))));
    }

    /// Waits for what there is for the connection, at most this long; `None`: there was nothing. `supersede`: whoever
    /// waits already gets nothing. Cancel-safe: what is not returned is there for the next.
    pub async fn fetch(&self, wait: Duration, supersede: bool) -> Result<Option<Fetched>, Gone> {
        let (fetched, waiting) = oneshot::channel();
        self.handle.order(Order::Fetch { slot: self.slot, fetched, supersede });
        match tokio::time::timeout(wait, waiting).await {
            Ok(fetched) => fetched.map(Some).map_err(|_| Gone),
            Err(_) => Ok(None),
        }
    }

    /// Gives it a socket, to which it writes its stream behind `head`.
    ///
    /// `cursor`: where the stream starts, if the worker must complete its events, and whether it compresses them.
    pub fn attach(&self, socket: RawSocket, head: Bytes, cursor: Option<(Cursor, bool)>) {
        let cursor = cursor.map(|(cursor, is_zipped)| (Box::new(cursor), is_zipped));
        self.handle.order(Order::Attach { slot: self.slot, socket, head, cursor });
    }

    /// Closes it.
    pub fn close(&self, reason: CloseReason) {
        self.handle.order(Order::Close { slot: self.slot, reason });
    }
}

fn is_node(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
