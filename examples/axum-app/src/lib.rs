//! A to-do list in axum: REST with cookie sessions, and Starling beside it on the same port. What is added over REST is
//! seen at once by every page of the same user.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use parking_lot::Mutex;
use serde::Deserialize;
use starling::core::{ErrorCode, Refusal};
use starling::handlers::{Answer, Channel, Connection, Handlers, Newcomer, Welcome};
use starling::{Broadcaster, Server, StartError};

/// Who is logged in, and what they have to do. A real application has a database here.
#[derive(Default)]
struct Store {
    sessions: HashMap<String, User>,
    todos: HashMap<User, Vec<String>>,
}

/// The user of a session, left in a request's extensions by [`session`].
#[derive(Clone, PartialEq, Eq, Hash)]
struct User(String);

#[derive(Clone)]
struct App {
    store: Arc<Mutex<Store>>,
    /// Tells the pages of a user what happened.
    realtime: Broadcaster,
}

/// The application, and the realtime server in it, which lets in pages of these origins.
///
/// Cookies come with requests of any page, so the origins matter: a page of somebody else must not open a connection as
/// whoever looks at it.
///
/// # Errors
/// When the realtime server cannot start.
pub fn app(origins: &[&str]) -> Result<(Router, Server), StartError> {
    // {user} is whoever is connected: nobody joins the list of another.
    let todos: Channel<String> = Channel::new("todos:{user}");
    let handlers = Handlers::connecting(connect).channel(todos).on("count", count);
    let store = Arc::new(Mutex::new(Store::default()));
    let server = Server::builder().anonymous().origins(origins).handlers(handlers).start()?;
    let app = App { store, realtime: server.broadcaster() };
    let router = Router::new()
        .route("/", get(async || "a to-do list"))
        .route("/api/todos", get(list).post(add))
        .route("/login", post(login))
        .merge(starling::axum::router(&server))
        .layer(middleware::from_fn_with_state(app.clone(), session))
        .with_state(app);
    Ok((router, server))
}

/// Whoever has a session is its user, on every connection as on every request.
async fn connect(newcomer: Newcomer) -> Answer<Welcome> {
    match newcomer.extensions().and_then(|extensions| extensions.get::<User>()) {
        Some(User(name)) => Ok(Welcome::new(()).user(name)),
        None => Err(Refusal::new(ErrorCode::AuthRequired, "log in first")),
    }
}

async fn count(connection: Connection) -> Answer<usize> {
    let Some(user) = connection.user_id() else { return Ok(0) };
    let pages = connection.broadcaster().connections(starling::Audience::user(user)).await?;
    Ok(pages.len())
}

/// Finds the session of a request by its cookie.
async fn session(State(app): State<App>, mut request: Request, next: Next) -> Response {
    if let Some(user) = session_id(request.headers()).and_then(|id| app.store.lock().sessions.get(id).cloned()) {
        request.extensions_mut().insert(user);
    }
    next.run(request).await
}

fn session_id(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    cookies.flat_map(|line| line.split(';')).find_map(|cookie| cookie.trim().strip_prefix("session="))
}

#[derive(Deserialize)]
struct Login {
    user: String,
}

async fn login(State(app): State<App>, Json(Login { user }): Json<Login>) -> Result<Response, StatusCode> {
    if user.is_empty() || user.len() > 100 {
        return Err(StatusCode::BAD_REQUEST);
    }
    // A real login asks for more than a name.
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    app.store.lock().sessions.insert(id.clone(), User(user));
    Ok(([(header::SET_COOKIE, format!("session={id}; HttpOnly; SameSite=Strict; Path=/"))], "welcome\n")
        .into_response())
}

async fn list(State(app): State<App>, user: Option<Extension<User>>) -> Result<Json<Vec<String>>, StatusCode> {
    let Extension(user) = user.ok_or(StatusCode::UNAUTHORIZED)?;
    Ok(Json(app.store.lock().todos.get(&user).cloned().unwrap_or_default()))
}

async fn add(
    State(app): State<App>,
    user: Option<Extension<User>>,
    Json(todo): Json<String>,
) -> Result<StatusCode, StatusCode> {
    let Extension(user) = user.ok_or(StatusCode::UNAUTHORIZED)?;
    let channel = format!("todos:{}", user.0);
    app.store.lock().todos.entry(user).or_default().push(todo.clone());
    app.realtime.publish(channel, "added", todo).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(StatusCode::CREATED)
}
