//! Connecting to one server, and finding out whether it will do.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, ErrorKind, ProtocolVersion,
    PushInfo, RedisError, ServerError, ServerErrorKind, TlsCertificates, Value, cmd, pipe,
};

use crate::address::name;
use crate::failure::describe;
use crate::keys::Keys;
use crate::options::{ConnectError, RedisOptions};
use crate::script;
use crate::writes;

/// The two connections to one master.
pub(crate) struct Link {
    /// For commands.
    pub commands: MultiplexedConnection,
    /// For subscriptions; what arrives goes to the function that it was made with.
    pub pushes: MultiplexedConnection,
    /// Whether the server is part of a Cluster.
    pub is_cluster: bool,
    /// Why the server takes no writes now, where it takes none.
    pub refused: Option<ServerError>,
}

/// Why there is no link.
#[derive(Debug, Clone)]
pub(crate) enum LinkError {
    /// It will not work tomorrow either.
    Never(ConnectError),
    /// It may work later.
    NotNow(String),
}

impl Link {
    /// Connects to a server, which must be a master and new enough, loads the scripts, and tries what the user may do.
    pub async fn establish(
        info: &ConnectionInfo,
        options: &RedisOptions,
        keys: &Keys,
        on_push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<Self, LinkError> {
        let mut commands = connect(info, options, config(options)).await?;
        let is_cluster = check(&mut commands, info).await?;
        let mut scripts = pipe();
        script::all().into_iter().for_each(|script| _ = scripts.add_command(script.load()));
        let loaded: Vec<Value> = scripts.query_async(&mut commands).await.map_err(of_setup)?;
        debug_assert_eq!(loaded.len(), script::all().len());
        let with_pushes = config(options).set_push_sender(move |info: PushInfo| -> Result<(), ()> {
            on_push(info);
            Ok(())
        });
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let info = info.clone().set_redis_settings(settings);
        let mut pushes = connect(&info, options, with_pushes).await?;
        let refused = try_rights(&mut commands, &mut pushes, keys, is_cluster).await?;
        Ok(Self { commands, pushes, is_cluster, refused })
    }
}

pub(crate) fn config(options: &RedisOptions) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_response_timeout(Some(options.response_timeout))
        .set_connection_timeout(Some(options.response_timeout.max(Duration::from_millis(100))))
}

/// Connects, and says who we are.
pub(crate) async fn connect(
    info: &ConnectionInfo,
    options: &RedisOptions,
    config: AsyncConnectionConfig,
) -> Result<MultiplexedConnection, LinkError> {
    let client = client(info, options).map_err(LinkError::Never)?;
    client.get_multiplexed_async_connection_with_config(&config).await.map_err(of_setup)
}

/// A short connection for questions about the topology.
pub(crate) async fn ask<T: redis::FromRedisValue>(
    info: &ConnectionInfo,
    options: &RedisOptions,
    question: &redis::Cmd,
) -> Result<T, LinkError> {
    let mut connection = connect(info, options, config(options)).await?;
    question.query_async(&mut connection).await.map_err(of_setup)
}

/// What a URL becomes; also a check of the certificates.
pub(crate) fn client(info: &ConnectionInfo, options: &RedisOptions) -> Result<Client, ConnectError> {
    let made = match (&options.tls, info.addr()) {
        (Some(tls), ConnectionAddr::TcpTls { .. }) => {
            let client_tls =
                tls.client.clone().map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
            Client::build_with_tls(info.clone(), TlsCertificates { client_tls, root_cert: tls.roots.clone() })
        }
        _ => Client::open(info.clone()),
    };
    made.map_err(|error| ConnectError::Invalid(error.to_string()))
}

/// Whether the server is in a Cluster; an error if it will not do.
async fn check(connection: &mut MultiplexedConnection, info: &ConnectionInfo) -> Result<bool, LinkError> {
    let about: String = cmd("INFO").arg("server").query_async(connection).await.map_err(of_setup)?;
    let field = |name: &str| about.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim));
    let mode = field("redis_mode").or_else(|| field("server_mode")).unwrap_or("standalone");
    let is_cluster = mode == "cluster";
    let Some(version) = field("redis_version") else {
        return Err(LinkError::Never(ConnectError::NotRedis(format!("{} tells no version", name(info)))));
    };
    if mode == "sentinel" {
        let why = format!("{} is a Sentinel: use redis+sentinel://", name(info));
        return Err(LinkError::Never(ConnectError::NotRedis(why)));
    }
    // 6.2: scripts replicate by effect, XTRIM MINID. 7.0: sharded pub/sub.
    let (oldest, needed) = if is_cluster { ((7, 0), "7.0") } else { ((6, 2), "6.2") };
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < oldest {
        return Err(LinkError::Never(ConnectError::TooOld { found: version.to_owned(), needed }));
    }
    let role: Value = cmd("ROLE").query_async(connection).await.map_err(of_setup)?;
    let is_master = matches!(&role, Value::Array(parts) if parts.first().is_some_and(|part| is_text(part, "master")));
    if !is_master && !is_cluster {
        return Err(LinkError::Never(ConnectError::ReadOnly(name(info))));
    }
    Ok(is_cluster)
}

/// What is tried, for those who have to permit it.
const NEEDED: [&str; 4] =
    ["to write keys", "to publish to channels", "to subscribe to channels", "to unsubscribe from channels"];

/// Tries what the engine needs: scripts that write keys of ours, publishing, subscribing. A server that only takes no
/// writes now will do; its answer is returned. In a Cluster, rights are looked at before it is said who has the slot.
async fn try_rights(
    commands: &mut MultiplexedConnection,
    pushes: &mut MultiplexedConnection,
    keys: &Keys,
    is_cluster: bool,
) -> Result<Option<ServerError>, LinkError> {
    let probe = keys.probe();
    let verb = |verb: &str| if is_cluster { format!("S{verb}") } else { verb.to_owned() };
    let mut write = script::PROBE.run(&[&probe]);
    write.arg("all");
    let mut asks = pipe();
    asks.add_command(write).cmd(&verb("PUBLISH")).arg(&probe).arg("");
    let mut follows = pipe();
    follows.cmd(&verb("SUBSCRIBE")).arg(&probe).cmd(&verb("UNSUBSCRIBE")).arg(&probe);
    let mut answers = commands.send_packed_commands(&asks, 0, 2).await.map_err(of_setup)?;
    answers.extend(pushes.send_packed_commands(&follows, 0, 2).await.map_err(of_setup)?);
    let mut refused = None;
    for (answer, what) in answers.into_iter().zip(NEEDED) {
        let Value::ServerError(error) = answer else { continue };
        match writes::refusal(&error) {
            Some("NOPERM") => {
                let why = format!("{what} that begin with {:?}: {}", keys.prefix(), describe(&error));
                return Err(LinkError::Never(ConnectError::Permission(why)));
            }
            Some(_) => refused = Some(error),
            None if is_cluster => {}
            None => return Err(of_setup(error.into())),
        }
    }
    Ok(refused)
}

fn is_text(value: &Value, text: &str) -> bool {
    match value {
        Value::BulkString(bytes) => bytes == text.as_bytes(),
        Value::SimpleString(found) => found == text,
        _ => false,
    }
}

/// What an error before the first command of a user means.
pub(crate) fn of_setup(error: RedisError) -> LinkError {
    let text = error.to_string();
    let never = match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS" | "NOPASS")) => {
            ConnectError::Credentials(text)
        }
        (ErrorKind::Server(ServerErrorKind::NoPerm), _) => ConnectError::Permission(text),
        (ErrorKind::InvalidClientConfig, _) => ConnectError::Invalid(text),
        (ErrorKind::Parse | ErrorKind::UnexpectedReturnType, _) => ConnectError::NotRedis(text),
        _ if text.contains("DB index is out of range") || text.contains("SELECT is not allowed") => {
            ConnectError::Invalid(format!("the database in the URL: {text}"))
        }
        _ => return LinkError::NotNow(text),
    };
    LinkError::Never(never)
}
