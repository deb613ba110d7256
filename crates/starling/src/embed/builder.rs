//! Building a server, step by step.

use std::fmt;
use std::net::{AddrParseError, SocketAddr};
use std::sync::Arc;

use starling_core::{Application, Engine, Rule};

use super::chain::Chain;
use crate::auth::{AppKeys, OriginError, Origins};
use crate::handlers::{Built, Handlers, RouteError};
use crate::options::{Options, TlsFiles};
use crate::server::{Server, StartError};

/// Builds a [`Server`]. What is wrong with a step is told by [`start`](Self::start).
///
/// Without further words a server has one app (`1`, with a random key and secret), lets in nobody without a token, no
/// web page, and has no channel.
///
/// ```no_run
/// use starling::Server;
/// use starling::handlers::{Answer, Channel, Connection, Handlers};
///
/// async fn hello(connection: Connection, name: String) -> Answer<String> {
///     Ok(format!("Hello {name}, you are {}", connection.id()))
/// }
///
/// #[tokio::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let handlers = Handlers::new().on("hello", hello);
///     let server = Server::builder().listen("127.0.0.1:8080").anonymous().handlers(handlers).start()?;
///     tokio::signal::ctrl_c().await?;
///     server.drain().await;
///     Ok(())
/// }
/// ```
#[must_use = "a builder does nothing before it is started"]
pub struct Builder {
    options: Options,
    rules: Vec<Rule>,
    handlers: Vec<Built>,
    applications: Vec<Arc<dyn Application>>,
    problem: Option<BuildError>,
}

/// A step of a [`Builder`] cannot be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// An address that is none.
    #[error("{address:?} is not an address such as 127.0.0.1:8080")]
    Address {
        /// The text.
        address: String,
        /// What is wrong with it.
        #[source]
        error: AddrParseError,
    },
    /// An origin that is none.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// A channel pattern that is none.
    #[error(transparent)]
    Channel(#[from] RouteError),
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            options: Options::default(),
            rules: Vec::new(),
            handlers: Vec::new(),
            applications: Vec::new(),
            problem: None,
        }
    }

    /// Listens on an address, such as `"0.0.0.0:8080"`. With port 0 the system chooses one, which
    /// [`Server::addresses`] tells. Default: none, for a server that is mounted in another.
    pub fn listen(mut self, address: impl fmt::Display) -> Self {
        let address = address.to_string();
        match address.parse::<SocketAddr>() {
            Ok(parsed) => self.options.listen.push(parsed),
            Err(error) => self.fail(BuildError::Address { address, error }),
        }
        self
    }

    /// Adds an app. Default: one whose secret nobody knows, so that only anonymous connections and those that a connect
    /// handler knows can come in, and the HTTP API is closed.
    pub fn app(mut self, app: AppKeys) -> Self {
        self.options.live.apps.push(app);
        self
    }

    /// Lets in connections without a token, as nobody, or as whom the connect handler says. Default: no.
    pub fn anonymous(mut self) -> Self {
        self.options.live.auth.anonymous = true;
        self
    }

    /// Web pages of these origins may connect; `"*"`: all. Default: none. Programs that send no `Origin` always may.
    pub fn origins<O: AsRef<str>>(mut self, origins: impl IntoIterator<Item = O>) -> Self {
        let origins: Vec<O> = origins.into_iter().collect();
        match Origins::new(&origins, false) {
            Ok(origins) => self.options.live.origins = origins,
            Err(error) => self.fail(error.into()),
        }
        self
    }

    /// Adds a rule, which comes before those of the handlers' channels.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Adds handlers, with the rules of their channels. Called again, those are asked after these.
    pub fn handlers<S: Send + Sync + 'static>(mut self, handlers: Handlers<S>) -> Self {
        match handlers.build() {
            Ok(built) => {
                self.applications.push(built.application.clone());
                self.handlers.push(built);
            }
            Err(error) => self.fail(error.into()),
        }
        self
    }

    /// Adds an application of another kind, such as HTTP hooks. It is asked after what was added before; see [`Chain`].
    pub fn application(mut self, application: Arc<dyn Application>) -> Self {
        self.applications.push(application);
        self
    }

    /// Links this server to others, and keeps logs and presence. Default: the memory engine.
    pub fn engine(mut self, engine: Arc<dyn Engine>) -> Self {
        self.options.engine = Some(engine);
        self
    }

    /// Threads that own connections, 1 to 64; 0: one per core. Default 0.
    pub fn workers(mut self, workers: usize) -> Self {
        self.options.workers = workers;
        self
    }

    /// The largest message of a client, in bytes. Default 64 KiB.
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.options.live.max_payload = bytes;
        self
    }

    /// Serves TLS with these files. Default: plain HTTP.
    pub fn tls(mut self, files: TlsFiles) -> Self {
        self.options.live.tls = Some(files);
        self
    }

    /// Changes whatever else there is to choose.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let builder = starling::Server::builder().configure(|options| {
    ///     options.live.heartbeat.interval = Duration::from_secs(10);
    ///     options.live.limits.messages_per_second = 20;
    /// });
    /// # let _ = builder;
    /// ```
    pub fn configure(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        self
    }

    /// Starts the server, on the tokio runtime that this is called from.
    ///
    /// # Errors
    /// When a step was wrong, or the server cannot run as it says; nothing is left behind then.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Result<Server, StartError> {
        if let Some(problem) = self.problem {
            return Err(problem.into());
        }
        let mut options = self.options;
        if options.live.apps.is_empty() {
            options.live.apps.push(unknown_app());
        }
        options.live.rules = options
            .live
            .rules
            .with(self.rules.into_iter().chain(self.handlers.iter().flat_map(|built| built.rules.iter().cloned())));
        let mut applications = self.applications;
        applications.extend(options.application.take());
        options.application = match applications.len() {
            0 | 1 => applications.pop(),
            _ => Some(Arc::new(Chain::new(applications))),
        };
        options.handlers.extend(self.handlers);
        Server::start(options)
    }

    /// The first problem is the one that is told.
    fn fail(&mut self, problem: BuildError) {
        self.problem.get_or_insert(problem);
    }
}

/// Shows that it is one: what it holds are functions and secrets.
impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("listen", &self.options.listen).finish_non_exhaustive()
    }
}

/// An app whose key and secret nobody knows.
fn unknown_app() -> AppKeys {
    let word = || {
        let mut random = [0; 24];
        getrandom::fill(&mut random).expect("the system has random numbers");
        random.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    AppKeys::new("1", word(), word())
}
