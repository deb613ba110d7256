//! A connection that wants in, and the request that it came with.

use std::future::Future;
use std::sync::Arc;

use http::request::Parts;
use http::{Extensions, HeaderMap, Request, Uri};
use starling_core::{AppId, Caller, ConnectionId, Protocol, RawJson, UserId};

/// A connection that wants in: what is known of it before the connect handler decides.
///
/// ```
/// use starling::core::{ErrorCode, Refusal};
/// use starling::handlers::{Newcomer, Welcome};
///
/// async fn connect(newcomer: Newcomer) -> Result<Welcome, Refusal> {
///     let cookie = newcomer.headers().and_then(|headers| headers.get("cookie"));
///     match cookie.and_then(|cookie| cookie.to_str().ok()) {
///         Some("session=ann") => Ok(Welcome::new(()).user("ann")),
///         _ => Err(Refusal::new(ErrorCode::AuthRequired, "log in first")),
///     }
/// }
/// # let _ = starling::handlers::Handlers::connecting(connect);
/// ```
#[derive(Debug, Clone)]
pub struct Newcomer {
    pub(crate) caller: Caller,
    pub(crate) head: Option<Arc<Parts>>,
}

impl Newcomer {
    /// Its id.
    pub fn id(&self) -> &ConnectionId {
        &self.caller.connection
    }

    /// Its app.
    pub fn app(&self) -> &AppId {
        &self.caller.app
    }

    /// The user that its token or ticket names; none if it is anonymous.
    pub fn user(&self) -> Option<&UserId> {
        self.caller.user.as_ref()
    }

    /// What its token says of its user: a JSON object.
    pub fn info(&self) -> Option<&RawJson> {
        self.caller.info.as_ref()
    }

    /// What it speaks: `native`, `socketio`, `phoenix`, …
    pub fn protocol(&self) -> Protocol {
        self.caller.protocol
    }

    /// The headers of the HTTP request that it came with.
    ///
    /// None where a connection says who it is by a message, later than its request: Socket.IO, and native connections
    /// whose first message is `auth`.
    pub fn headers(&self) -> Option<&HeaderMap> {
        self.head.as_ref().map(|head| &head.headers)
    }

    /// The target of the HTTP request that it came with; none where [`headers`](Self::headers) has none.
    pub fn uri(&self) -> Option<&Uri> {
        self.head.as_ref().map(|head| &head.uri)
    }

    /// The query of the request that it came with: all of it where there is a [`uri`](Self::uri), and for Socket.IO
    /// what is not the protocol's own (`EIO`, `transport`, `sid`, `t`) or a credential (`token`, `ticket`).
    pub fn query(&self) -> Option<&str> {
        self.uri().map_or(self.caller.query.as_deref(), Uri::query)
    }

    /// What your middleware put into the extensions of the request, where Starling is mounted in an axum application:
    /// the user of the session, say. None where [`headers`](Self::headers) has none.
    pub fn extensions(&self) -> Option<&Extensions> {
        self.head.as_ref().map(|head| &head.extensions)
    }
}

tokio::task_local! {
    /// The head of the request that this task answers.
    static HEAD: Arc<Parts>;
}

/// Answers a request by `answer`, within which [`head`] gives the request's head.
pub(crate) async fn with_head<B, F: Future>(request: Request<B>, answer: impl FnOnce(Request<B>) -> F) -> F::Output {
    let (parts, body) = request.into_parts();
    let mut head = parts.clone();
    // The connection belongs to whoever answers.
    head.extensions.remove::<hyper::upgrade::OnUpgrade>();
    head.extensions.remove::<crate::listener::Exit>();
    let answer = answer(Request::from_parts(parts, body));
    HEAD.scope(Arc::new(head), answer).await
}

/// The head of the request that is being answered, if one is.
pub(crate) fn head() -> Option<Arc<Parts>> {
    HEAD.try_with(Arc::clone).ok()
}
