//! HTTP requests to the server, one after the other over a connection that is kept for a while.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::connector::{Connector, USER_AGENT};
use crate::error::{ConnectError, Failure};
use crate::refusal::refusal;

/// How long a connection may be unused to be used once more: servers and proxies close what is idle for longer, and a
/// request that meets the close is lost.
const IDLE: Duration = Duration::from_secs(10);
/// How much of the body of a refusal is kept, in bytes.
const MAX_REFUSAL: usize = 16 << 10;

/// Makes requests. What is dropped while it waits for an answer closes its connection.
pub(super) struct Requests {
    connector: Arc<Connector>,
    kept: Option<Kept>,
}

/// A connection, driven by a task of its own.
struct Kept {
    sender: SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
    used: Instant,
}

/// A whole answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
}

impl Requests {
    pub(super) fn new(connector: Arc<Connector>) -> Self {
        Self { connector, kept: None }
    }

    /// Asks for `path` beside `/ws`, with these parameters.
    pub(super) async fn get(
        &mut self,
        path: &str,
        parameters: &[(&str, &str)],
        token: Option<&str>,
        accept: &'static str,
    ) -> Result<Response<Incoming>, Failure> {
        let accept = (header::ACCEPT, HeaderValue::from_static(accept));
        let request = self.request(Method::GET, path, parameters, token, accept, Bytes::new())?;
        self.send(request).await
    }

    /// Posts JSON to `path` beside `/ws`.
    pub(super) async fn post(
        &mut self,
        path: &str,
        parameters: &[(&str, &str)],
        token: Option<&str>,
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let request = self.request(Method::POST, path, parameters, token, kind, body)?;
        let response = self.send(request).await?;
        self.whole(response).await
    }

    /// Reads an answer to its end: at most as much as a message may have.
    pub(super) async fn whole(&mut self, response: Response<Incoming>) -> Result<Answer, Failure> {
        let (head, body) = response.into_parts();
        let status = head.status.as_u16();
        let most = if head.status.is_success() { self.connector.max_message } else { MAX_REFUSAL };
        match Limited::new(body, most).collect().await {
            Ok(body) => Ok(Answer { status, retry_after: retry_after(&head.headers), body: body.to_bytes() }),
            Err(error) => {
                self.kept = None;
                Err(self.connector.io(io::Error::other(error)).into())
            }
        }
    }

    /// The refusal that an answer is which is no acceptance.
    pub(super) async fn refusal(&mut self, response: Response<Incoming>) -> Failure {
        match self.whole(response).await {
            Ok(answer) => answer.refusal(),
            Err(failure) => failure,
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        parameters: &[(&str, &str)],
        token: Option<&str>,
        (name, value): (HeaderName, HeaderValue),
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let unusable = |what: &str| ConnectError::Protocol(format!("{what} cannot be written into a request"));
        let target = self.connector.endpoint.beside(path, parameters).ok_or_else(|| unusable("the URL"))?;
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, &self.connector.endpoint.authority)
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::CACHE_CONTROL, "no-store")
            .header(name, value);
        if let Some(bearer) = Connector::bearer(token)? {
            let mut bearer = HeaderValue::try_from(bearer).map_err(|_| unusable("the token"))?;
            bearer.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, bearer);
        }
        Ok(request.body(Full::new(body)).map_err(|_| unusable("the URL"))?)
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
        let mut request = request;
        if let Some(mut kept) = self.kept.take().filter(|kept| kept.used.elapsed() < IDLE)
            && kept.sender.ready().await.is_ok()
        {
            match kept.sender.try_send_request(request).await {
                Ok(response) => return Ok(self.keep(kept, response)),
                // Closed before it was sent: another connection takes it.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(self.failed(error.into_error())),
                },
            }
        }
        let mut fresh = self.connect().await?;
        match fresh.sender.send_request(request).await {
            Ok(response) => Ok(self.keep(fresh, response)),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn keep(&mut self, mut kept: Kept, response: Response<Incoming>) -> Response<Incoming> {
        kept.used = Instant::now();
        self.kept = Some(kept);
        response
    }

    async fn connect(&self) -> Result<Kept, Failure> {
        let stream = self.connector.dial().await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.failed(error))?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Whoever made a request is told what became of it.
            let _ = connection.await;
        });
        Ok(Kept { sender, _driver: driver, used: Instant::now() })
    }

    fn failed(&self, error: hyper::Error) -> Failure {
        if error.is_parse() {
            return ConnectError::Protocol(format!("no HTTP: {error}")).into();
        }
        self.connector.io(io::Error::other(error)).into()
    }
}

impl Answer {
    pub(super) fn refusal(&self) -> Failure {
        refusal(self.status, self.retry_after, &self.body)
    }
}

/// `Retry-After` in seconds. Its other form, a date, is left to the backoff.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
