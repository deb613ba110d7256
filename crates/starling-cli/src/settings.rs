//! From the configuration file's values to the server's.

use anyhow::Context;
use starling::auth::{Algorithm, AppKeys, AuthPolicy, AuthWhen, KeyMaterial, KeySource, Origins};
use starling::core::{
    Access, Backpressure, Delivery, Heartbeat, HistoryPolicy, Limits, Pattern, PresencePolicy, PublishAccess, Rule,
    RuleSet,
};
use starling::{LiveOptions, Networks, Options, TlsFiles};

use crate::config::{self, Config};

/// What the server is started with.
///
/// # Errors
/// When a file that the configuration names cannot be read.
pub fn options(config: &Config, dev: bool) -> anyhow::Result<Options> {
    let mut options = Options::default();
    options.listen = config.server.listen.clone();
    options.admin_listen = config.server.admin_listen;
    options.workers = config.server.workers;
    options.recovery_window = config.recovery.window;
    options.dev = dev;
    options.hooks = config.hooks.as_ref().map(config::Hooks::options);
    options.webhooks = config.webhooks.iter().map(config::Webhook::options).collect();
    options.live = live(config)?;
    Ok(options)
}

/// What can be changed while it runs.
///
/// # Errors
/// When a file that the configuration names cannot be read.
pub fn live(config: &Config) -> anyhow::Result<LiveOptions> {
    let mut live = LiveOptions::default();
    live.apps = config.apps.iter().map(app).collect::<anyhow::Result<_>>()?;
    live.origins = origins(&config.origins)?;
    live.auth = auth(&config.auth);
    live.rules = RuleSet::new(config.channels.iter().map(rule).collect::<anyhow::Result<Vec<_>>>()?);
    live.limits = limits(&config.limits);
    live.backpressure = Backpressure {
        high_water: config.backpressure.high_water,
        queue_messages: config.backpressure.queue_messages,
        queue_bytes: config.backpressure.queue_bytes,
    };
    live.heartbeat = Heartbeat { interval: config.heartbeat.interval, timeout: config.heartbeat.timeout };
    live.max_payload = config.server.max_payload;
    live.max_connections = config.server.max_connections;
    live.max_connections_per_ip = config.server.max_connections_per_ip;
    live.handshake_timeout = config.server.handshake_timeout;
    live.shutdown_grace = config.server.shutdown_grace;
    let proxies = config.server.trusted_proxies.iter();
    live.trusted_proxies =
        Networks::parse(&proxies.map(|cidr| format!("{}/{}", cidr.address, cidr.prefix)).collect::<Vec<_>>())?;
    live.compression = config.server.compression;
    live.tls = config.tls.as_ref().map(|tls| TlsFiles { cert: tls.cert.clone(), key: tls.key.clone() });
    Ok(live)
}

fn app(app: &config::App) -> anyhow::Result<AppKeys> {
    let mut keys = AppKeys::new(app.id.as_str(), app.key.as_str(), app.secret.expose());
    keys.pusher = app.pusher.clone();
    for jwt in &app.jwt {
        let mut source = KeySource::from(key_material(&jwt.source)?);
        source.issuer = jwt.issuer.clone();
        source.audience = jwt.audience.clone();
        keys = keys.with_jwt(source);
    }
    Ok(keys)
}

fn key_material(source: &config::JwtSource) -> anyhow::Result<KeyMaterial> {
    use config::JwtSource;
    let read = |path: &std::path::Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    Ok(match source {
        JwtSource::Secret { algorithm, secret } => {
            KeyMaterial::Secret { algorithm: self::algorithm(*algorithm), secret: secret.expose().into() }
        }
        JwtSource::PublicKey { algorithm, path } => {
            KeyMaterial::PublicKey { algorithm: self::algorithm(*algorithm), pem: read(path)? }
        }
        JwtSource::JwksFile { path, .. } => KeyMaterial::Jwks { document: read(path)? },
        JwtSource::JwksUrl { url, .. } => KeyMaterial::JwksUrl { url: url.clone() },
    })
}

fn algorithm(algorithm: config::JwtAlgorithm) -> Algorithm {
    use config::JwtAlgorithm;
    match algorithm {
        JwtAlgorithm::Hs256 => Algorithm::Hs256,
        JwtAlgorithm::Hs384 => Algorithm::Hs384,
        JwtAlgorithm::Hs512 => Algorithm::Hs512,
        JwtAlgorithm::Rs256 => Algorithm::Rs256,
        JwtAlgorithm::Es256 => Algorithm::Es256,
        JwtAlgorithm::EdDsa => Algorithm::EdDsa,
    }
}

fn origins(origins: &config::Origins) -> anyhow::Result<Origins> {
    let any = ["*".to_owned()];
    let allow = match &origins.allow {
        config::AllowedOrigins::Any => &any[..],
        config::AllowedOrigins::List(list) => list,
    };
    Ok(Origins::new(allow, origins.require)?)
}

fn auth(auth: &config::Auth) -> AuthPolicy {
    AuthPolicy {
        when: match auth.when {
            config::AuthWhen::Upgrade => AuthWhen::Upgrade,
            config::AuthWhen::FirstMessage => AuthWhen::FirstMessage,
            config::AuthWhen::Any => AuthWhen::Any,
        },
        timeout: auth.timeout,
        anonymous: auth.anonymous,
        query_token: auth.query_token,
    }
}

fn limits(limits: &config::Limits) -> Limits {
    let rate = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Limits {
        messages_per_second: rate(limits.messages_per_second),
        burst: rate(limits.burst),
        subscriptions: limits.subscriptions,
        strikes: rate(limits.strikes),
        per_user_messages_per_second: rate(limits.per_user_messages_per_second),
        per_app_messages_per_second: rate(limits.per_app_messages_per_second),
        connections_per_ip_per_second: rate(limits.connections_per_ip_per_second),
    }
}

fn rule(rule: &config::ChannelRule) -> anyhow::Result<Rule> {
    Ok(Rule {
        pattern: Pattern::parse(&rule.pattern)?,
        app: rule.app.as_deref().map(Into::into),
        subscribe: match rule.subscribe {
            config::Subscribe::Anyone => Access::Anyone,
            config::Subscribe::Authenticated => Access::Authenticated,
            config::Subscribe::Granted => Access::Granted,
        },
        publish: match rule.publish {
            config::Publish::Nobody => PublishAccess::Nobody,
            config::Publish::Anyone => PublishAccess::Anyone,
            config::Publish::Authenticated => PublishAccess::Authenticated,
            config::Publish::Members => PublishAccess::Members,
            config::Publish::Granted => PublishAccess::Granted,
        },
        presence: rule.presence.as_ref().map(|presence| PresencePolicy { grace: presence.grace }),
        history: rule.history.as_ref().map(|history| HistoryPolicy { size: history.size, ttl: history.ttl }),
        delivery: match rule.delivery {
            config::Delivery::Reliable => Delivery::Reliable,
            config::Delivery::Drop => Delivery::Drop,
            config::Delivery::Latest => Delivery::Latest,
        },
    })
}
