//! Answers: JSON, nothing, or why not.

use std::borrow::Cow;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;
use starling_core::{ErrorCode, Refusal};
use utoipa::ToSchema;

use super::Body;
use crate::auth::CredentialsError;

/// What a call comes to.
pub(super) type Answer = Result<Response<Body>, Failure>;

/// No route has this path.
const NOT_FOUND: &str = "NOT_FOUND";
/// The path is served, but not by this method.
const METHOD_NOT_ALLOWED: &str = "METHOD_NOT_ALLOWED";
/// The body did not come in time.
const REQUEST_TIMEOUT: &str = "REQUEST_TIMEOUT";

/// Both ways in which an app may show its credentials (RFC 9110 section 11.6.1).
const APP_CHALLENGE: &str = r#"Basic realm="starling", charset="UTF-8", Bearer realm="starling""#;
const USER_CHALLENGE: &str = r#"Bearer realm="starling""#;

/// A call that was not carried out: a status, and the contract's error object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub status: StatusCode,
    pub refusal: Refusal,
    /// Boxed, because most have none.
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

impl Failure {
    fn new(status: StatusCode, refusal: Refusal) -> Self {
        Self { status, refusal, header: None }
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some(Box::new((name, value)));
        self
    }

    /// 400: the request is not of its form. `why` is a whole sentence fragment that names the field.
    pub fn invalid(why: impl Into<Cow<'static, str>>) -> Self {
        Refusal::new(ErrorCode::InvalidMessage, why).into()
    }

    /// 404: there is nothing of this name.
    pub fn not_found(why: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, Refusal::custom(NOT_FOUND, why))
    }

    /// 405, with the methods that would do, separated by commas.
    pub fn method_not_allowed(allowed: &str) -> Self {
        let refusal = Refusal::custom(METHOD_NOT_ALLOWED, format!("this path is served by {allowed}"));
        let allowed = HeaderValue::from_str(allowed).unwrap_or(HeaderValue::from_static(""));
        Self::new(StatusCode::METHOD_NOT_ALLOWED, refusal).with(ALLOW, allowed)
    }

    /// 408: the rest of the body did not come in time.
    pub fn too_slow() -> Self {
        let refusal = Refusal::custom(REQUEST_TIMEOUT, "the body did not arrive in time");
        Self::new(StatusCode::REQUEST_TIMEOUT, refusal)
    }

    /// 413: more bytes than `what` may have.
    pub fn too_large(what: &str, limit: usize) -> Self {
        Refusal::new(ErrorCode::PayloadTooLarge, format!("{what} may have {limit} bytes")).into()
    }

    /// 401: these are no app's credentials.
    pub fn credentials(error: CredentialsError) -> Self {
        let refusal = Refusal::new(ErrorCode::AuthRequired, error.to_string());
        Self::new(StatusCode::UNAUTHORIZED, refusal).with(WWW_AUTHENTICATE, HeaderValue::from_static(APP_CHALLENGE))
    }

    /// 401: no user token, or none that is good.
    pub fn token(refusal: Refusal) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, refusal).with(WWW_AUTHENTICATE, HeaderValue::from_static(USER_CHALLENGE))
    }

    /// 403: this may not be done.
    pub fn forbidden(why: &'static str) -> Self {
        Refusal::new(ErrorCode::Forbidden, why).into()
    }

    /// The same, with its message put into other words.
    pub fn reworded(mut self, reword: impl FnOnce(&str) -> String) -> Self {
        self.refusal.message = Cow::Owned(reword(&self.refusal.message));
        self
    }

    pub fn into_response(self) -> Response<Body> {
        let error = ErrorObject { error: ErrorDetail { code: &self.refusal.code, message: &self.refusal.message } };
        let mut response = json_with(self.status, &error);
        if let Some(header) = self.header {
            let (name, value) = *header;
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.http_status()).unwrap_or(StatusCode::FORBIDDEN);
        Self::new(status, refusal)
    }
}

/// Every error has this form.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(super) struct ErrorObject<'a> {
    error: ErrorDetail<'a>,
}

#[derive(Serialize, ToSchema)]
struct ErrorDetail<'a> {
    /// For programs.
    #[schema(example = "FORBIDDEN")]
    code: &'a str,
    /// For people.
    message: &'a str,
}

/// 200, and a value as JSON.
pub(super) fn json(value: &impl Serialize) -> Answer {
    Ok(json_with(StatusCode::OK, value))
}

fn json_with(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let text = serde_json::to_vec(value).expect("answers have nothing that JSON cannot say");
    json_text(status, text)
}

/// JSON that is written already.
pub(super) fn json_text(status: StatusCode, text: Vec<u8>) -> Response<Body> {
    typed(status, "application/json", text)
}

/// 204: done, and nothing to say.
pub(super) fn done() -> Answer {
    let mut response = typed(StatusCode::NO_CONTENT, "application/json", Vec::new());
    response.headers_mut().remove(CONTENT_TYPE);
    Ok(response)
}

/// A body of some type. Nothing that is served here may be kept by caches or be taken for another type.
pub(super) fn typed(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
