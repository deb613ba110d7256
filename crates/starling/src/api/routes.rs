//! The one list of calls. The routing table and the OpenAPI document are both made of it.
//!
//! Method and path stand at the function that answers, in its `utoipa::path` attribute.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::{HeaderMap, Method};
use starling_core::{AppId, BoxFuture};
use utoipa::openapi::HttpMethod;

use super::answer::{Answer, Failure};
use super::body::BodyLimit;
use super::path::{self, Names, Query};
use super::{channels, connections, health, metrics, openapi, publishing, stats, ticket, users};
use crate::shared::Shared;

/// Which of the server's listeners a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listener {
    Main,
    Admin,
}

/// One call: a method of a path.
pub(super) struct Route {
    pub method: Method,
    /// The path, with `{…}` where names are.
    pub template: String,
    pub serve: Serve,
}

/// Who is answered, and by what.
pub(super) enum Serve {
    /// An app's backend.
    App(BodyLimit, fn(Call) -> BoxFuture<Answer>),
    /// Anyone; the function asks for credentials itself if it wants some.
    Open(fn(Visit) -> BoxFuture<Answer>),
    /// Whoever watches the server: anyone on the admin listener, and an app's backend on the main one.
    Scrape(fn(Visit) -> BoxFuture<Answer>),
}

/// A call with an app's credentials.
pub(super) struct Call {
    pub shared: Arc<Shared>,
    /// Whose credentials.
    pub app: AppId,
    pub names: Names,
    pub query: Query,
    pub body: Bytes,
}

/// A call without body and names.
pub(super) struct Visit {
    pub shared: Arc<Shared>,
    pub headers: HeaderMap,
    /// The only app that may be told of; none: all.
    pub app: Option<AppId>,
}

macro_rules! routes {
    ($($serve:ident $(($limit:ident))?: $module:ident::$call:ident, $doc:ident;)*) => {
        /// Describes all calls; who answers them is in [`table`].
        #[derive(utoipa::OpenApi)]
        #[openapi(paths($($module::$call),*))]
        pub(super) struct Calls;

        fn table() -> Vec<Route> {
            vec![$(Route::new::<$module::$doc>(
                Serve::$serve($(BodyLimit::$limit,)? |call| Box::pin($module::$call(call))),
            )),*]
        }
    };
}

routes! {
    App(Message): publishing::publish, __path_publish;
    App(Batch): publishing::publish_batch, __path_publish_batch;
    App(Message): publishing::publish_to_user, __path_publish_to_user;
    App(Fields): channels::list_channels, __path_list_channels;
    App(Fields): channels::get_channel, __path_get_channel;
    App(Fields): channels::get_presence, __path_get_presence;
    App(Fields): channels::get_history, __path_get_history;
    App(Fields): channels::clear_history, __path_clear_history;
    App(Fields): users::disconnect_user, __path_disconnect_user;
    App(Fields): users::revoke_user, __path_revoke_user;
    App(Fields): users::subscribe_user, __path_subscribe_user;
    App(Fields): users::unsubscribe_user, __path_unsubscribe_user;
    App(Fields): connections::get_connection, __path_get_connection;
    App(Fields): connections::disconnect_connection, __path_disconnect_connection;
    App(Fields): stats::get_stats, __path_get_stats;
    Open: openapi::get_openapi, __path_get_openapi;
    Open: ticket::issue_ticket, __path_issue_ticket;
    Open: health::get_health, __path_get_health;
    Open: health::get_readiness, __path_get_readiness;
    Scrape: metrics::get_metrics, __path_get_metrics;
}

/// Paths that the admin listener serves.
const ADMIN: [&str; 3] = [metrics::PATH, health::HEALTH, health::READINESS];

static ROUTES: LazyLock<Vec<Route>> = LazyLock::new(table);

impl Route {
    fn new<D: utoipa::Path>(serve: Serve) -> Self {
        let method = match D::methods().first() {
            Some(HttpMethod::Get) => Method::GET,
            Some(HttpMethod::Delete) => Method::DELETE,
            Some(HttpMethod::Post) => Method::POST,
            _ => unreachable!("calls are described as GET, POST or DELETE"),
        };
        Self { method, template: D::path(), serve }
    }

    fn is_at(&self, listener: Listener, has_admin_listener: bool) -> bool {
        match listener {
            Listener::Admin => ADMIN.contains(&self.template.as_str()),
            Listener::Main => self.template != metrics::PATH || !has_admin_listener,
        }
    }
}

/// The route of a request, and the names in its path. `HEAD` is answered as `GET` (RFC 9110 section 9.3.2).
pub(super) fn find(
    method: &Method,
    path: &str,
    listener: Listener,
    has_admin_listener: bool,
) -> Result<(&'static Route, Names), Failure> {
    let wanted = if method == Method::HEAD { &Method::GET } else { method };
    let mut allowed: Vec<&str> = Vec::new();
    for route in ROUTES.iter().filter(|route| route.is_at(listener, has_admin_listener)) {
        let Some(names) = path::names(&route.template, path) else { continue };
        if route.method == wanted {
            return Ok((route, Names::new(&names)));
        }
        allowed.push(route.method.as_str());
        match route.method {
            Method::GET => allowed.push("HEAD"),
            _ if route.template == ticket::PATH => allowed.push("OPTIONS"),
            _ => {}
        }
    }
    if allowed.is_empty() {
        return Err(Failure::not_found("there is nothing at this path; names in it are percent-encoded"));
    }
    Err(Failure::method_not_allowed(&allowed.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::StatusCode;

    use super::*;

    #[test]
    fn the_document_has_every_route_and_no_other() {
        let document = serde_json::to_value(super::openapi::document()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let documented: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, item)| {
                item.as_object().unwrap().keys().map(move |key| (key.to_uppercase(), path.clone()))
            })
            .collect();
        let routed: BTreeSet<(String, String)> =
            ROUTES.iter().map(|route| (route.method.to_string(), route.template.clone())).collect();
        assert_eq!(documented, routed);
        assert_eq!(routed.len(), ROUTES.len(), "a call stands in the list twice");
    }

    #[test]
    fn requests_find_their_route() {
        let main = |method: &Method, path: &str| {
            find(method, path, Listener::Main, false).map(|(route, _)| route.template.clone()).map_err(|f| f.status)
        };
        assert_eq!(main(&Method::GET, "/api/channels/a/history").unwrap(), "/api/channels/{channel}/history");
        assert_eq!(main(&Method::DELETE, "/api/channels/a/history").unwrap(), "/api/channels/{channel}/history");
        assert_eq!(main(&Method::HEAD, "/healthz").unwrap(), "/healthz");
        assert_eq!(main(&Method::GET, "/api/nothing"), Err(StatusCode::NOT_FOUND));
        assert_eq!(main(&Method::GET, "/"), Err(StatusCode::NOT_FOUND));
        assert_eq!(main(&Method::GET, "/api/publish"), Err(StatusCode::METHOD_NOT_ALLOWED));
        assert_eq!(main(&Method::POST, "/api/users/u/publish").unwrap(), "/api/users/{user}/publish");
    }

    #[test]
    fn the_admin_listener_serves_health_and_metrics_only() {
        for (path, admin, beside_admin) in
            [("/metrics", true, false), ("/healthz", true, true), ("/readyz", true, true), ("/api/stats", false, true)]
        {
            assert_eq!(find(&Method::GET, path, Listener::Admin, true).is_ok(), admin, "{path}");
            assert_eq!(find(&Method::GET, path, Listener::Main, true).is_ok(), beside_admin, "{path}");
            assert!(find(&Method::GET, path, Listener::Main, false).is_ok(), "{path}");
        }
    }

    #[test]
    fn the_wrong_method_is_told_the_right_ones() {
        let failure = find(&Method::PUT, "/api/channels/a/history", Listener::Main, false).err().unwrap();
        let response = failure.into_response();
        assert_eq!(response.headers()["allow"], "GET, HEAD, DELETE");
    }
}
