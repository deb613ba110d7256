//! The configuration as its users meet it: what is accepted, what is refused, and in which words.

use std::path::Path;
use std::time::Duration;

use super::channels::{HistoryRule, PresenceRule};
use super::*;
use starling::hooks::HookEvent;

/// An app, so that a test's text holds only what it is about. It stands behind the text, whose lines count from 1.
const APP: &str = "\n[[apps]]\nid = \"1\"\nkey = \"the-key\"\nsecret = \"a-secret-of-its-own\"\n";

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys")
}

fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::parse("starling.toml", text, &folder(), variables)
}

fn accepted(text: &str, variables: &[(&str, &str)]) -> Config {
    parse(&format!("{text}{APP}"), variables).unwrap_or_else(|errors| panic!("{text}\n{errors:#}"))
}

fn refused(text: &str, variables: &[(&str, &str)]) -> String {
    match parse(text, variables) {
        Ok(_) => panic!("accepted: {text} {variables:?}"),
        Err(errors) => errors.to_string().replace(&folder().display().to_string(), "FOLDER"),
    }
}

#[test]
fn a_wrong_value_is_refused_with_line_key_and_accepted_values() {
    for (text, expected) in [
        (
            "[limits]\nburst = \"many\"",
            "starling.toml:2: limits.burst: expected a whole number of messages, 1 to 1000000, got \"many\"",
        ),
        (
            "[limits]\n\n\nburst = 0",
            "starling.toml:4: limits.burst: expected a whole number of messages, 1 to 1000000, got 0",
        ),
        (
            "[limits]\nburst = 1.5",
            "starling.toml:2: limits.burst: expected a whole number of messages, 1 to 1000000, got 1.5",
        ),
        (
            "[limits]\nburst = -1",
            "starling.toml:2: limits.burst: expected a whole number of messages, 1 to 1000000, got -1",
        ),
        (
            "[limits]\nburst = 99999999999999999999999999999999999999999999",
            "starling.toml:2: limits.burst: expected a whole number of messages, 1 to 1000000, got 99999999999999999999999999999999999999999999",
        ),
        (
            "[limits]\nbrust = 5",
            "starling.toml:2: limits.brust: unknown key, did you mean burst? accepted: messages_per_second, burst, subscriptions, strikes, per_user_messages_per_second, per_app_messages_per_second, connections_per_ip_per_second",
        ),
        (
            "[recovery]\nwindows = \"2m\"\nwindow = \"1m\"",
            "starling.toml:2: recovery.windows: unknown key, did you mean window? accepted: window",
        ),
        (
            "[origin]\nallow = []",
            "starling.toml:1: origin: unknown key, did you mean origins? accepted: server, origins, auth, heartbeat, limits, backpressure, recovery, engine, tls, hooks, webhooks, apps, channels",
        ),
        ("limits = 5", "starling.toml:1: limits: expected a table, [limits], got 5"),
        (
            "[heartbeat]\ninterval = 25",
            "starling.toml:2: heartbeat.interval: expected a duration of 100ms to 1h, such as \"25s\", got 25",
        ),
        (
            "[heartbeat]\ninterval = \"25\"",
            "starling.toml:2: heartbeat.interval: expected a duration of 100ms to 1h, such as \"25s\", got \"25\"",
        ),
        (
            "[heartbeat]\ninterval = \"400d\"",
            "starling.toml:2: heartbeat.interval: expected a duration of 100ms to 1h, such as \"25s\", got \"400d\"",
        ),
        (
            "[server]\nmax_payload = \"64KB\"",
            "starling.toml:2: server.max_payload: expected a size of 1B to 256MiB, such as \"64KiB\", got \"64KB\"",
        ),
        (
            "[server]\nmax_payload = 0",
            "starling.toml:2: server.max_payload: expected a size of 1B to 256MiB, such as \"64KiB\", got 0",
        ),
        (
            "[server]\nlisten = []",
            "starling.toml:2: server.listen: expected at least one address, each an address and port, such as \"0.0.0.0:8080\" or \"[::]:8080\"",
        ),
        (
            "[server]\nlisten = \"0.0.0.0:8080\"",
            "starling.toml:2: server.listen: expected a list, each an address and port, such as \"0.0.0.0:8080\" or \"[::]:8080\", got \"0.0.0.0:8080\"",
        ),
        (
            "[server]\nlisten = [\"0.0.0.0:80\",\n  \"localhost\"]",
            "starling.toml:3: server.listen[1]: expected an address and port, such as \"0.0.0.0:8080\" or \"[::]:8080\", got \"localhost\"",
        ),
        (
            "[server]\nlisten = [\"0.0.0.0:80\", \"0.0.0.0:80\"]",
            "starling.toml:2: server.listen: 0.0.0.0:80 is listed twice",
        ),
        (
            "[server]\nlisten = [\"0.0.0.0:80\"]\nadmin_listen = \"0.0.0.0:80\"",
            "starling.toml:3: server.admin_listen: 0.0.0.0:80 is already in server.listen; leave admin_listen out to serve both there",
        ),
        (
            "[server]\ntrusted_proxies = [\"10.0.0.1/8\"]",
            "starling.toml:2: server.trusted_proxies[0]: expected a network, such as \"10.0.0.0/8\" or \"::1/128\", got \"10.0.0.1/8\"",
        ),
        ("[server]\ncompression = \"yes\"", "starling.toml:2: server.compression: expected true or false, got \"yes\""),
        ("[tls]\ncert = \"cert.pem\"", "starling.toml:1: tls.key: missing, expected the name of a PEM file"),
        (
            "[tls]\ncert = \"none.pem\"\nkey = \"key.pem\"",
            "starling.toml:2: tls.cert: cannot open FOLDER/none.pem: No such file or directory (os error 2)",
        ),
        ("[tls]\ncert = \".\"\nkey = \"key.pem\"", "starling.toml:2: tls.cert: FOLDER/. is not a file"),
        (
            "[tls]\ncert = \"cert.pem\"\nkey = \"cert.pem\"",
            "starling.toml:3: tls.key: no private key in FOLDER/cert.pem",
        ),
        ("[tls]\ncert = \"key.pem\"\nkey = \"key.pem\"", "starling.toml:2: tls.cert: no certificate in FOLDER/key.pem"),
        (
            "[tls]\ncert = \"cert.pem\"\nkey = \"rsa-private.pem\"",
            "starling.toml:3: tls.key: FOLDER/rsa-private.pem is not the key of the certificate FOLDER/cert.pem",
        ),
        (
            "[origins]\nallow = [\"https://app.example.com/\"]",
            "starling.toml:2: origins.allow[0]: expected an origin without a path, such as \"https://app.example.com\", or \"*\", got \"https://app.example.com/\"",
        ),
        (
            "[origins]\nallow = [\"app.example.com\"]",
            "starling.toml:2: origins.allow[0]: expected an origin without a path, such as \"https://app.example.com\", or \"*\", got \"app.example.com\"",
        ),
        (
            "[origins]\nrequire = true",
            "starling.toml:2: origins.require: nobody could connect, because origins.allow is empty",
        ),
        (
            "[auth]\nwhen = \"never\"",
            "starling.toml:2: auth.when: expected \"upgrade\", \"first_message\" or \"any\", got \"never\"",
        ),
        (
            "[engine]\nurl = \"rabbit://x\"",
            "starling.toml:2: engine.url: expected \"memory\", or a URL redis://…, rediss://…, redis+sentinel://…, nats://… or kafka://…",
        ),
        #[cfg(not(feature = "kafka"))]
        (
            "[engine]\nurl = \"kafka://127.0.0.1\"",
            "starling.toml:2: engine.url: the engine \"kafka\" is not in this build, which has: memory, redis, nats",
        ),
        ("[hooks]\nevents = [\"connect\"]", "starling.toml:1: hooks.url: missing, expected an http:// or https:// URL"),
        (
            "[hooks]\nurl = \"ftp://x\"",
            "starling.toml:2: hooks.url: expected an http:// or https:// URL, got \"ftp://x\"",
        ),
        (
            "[hooks]\nurl = \"http://me:pw@\"",
            "starling.toml:2: hooks.url: expected an http:// or https:// URL, got \"http://…@\"",
        ),
        (
            "[hooks]\nurl = \"http://x\"\nevents = [\"connect\", \"join\"]",
            "starling.toml:3: hooks.events[1]: expected \"connect\", \"subscribe\", \"publish\" or \"event\", got \"join\"",
        ),
        (
            "[hooks]\nurl = \"http://x\"\non_error = \"retry\"",
            "starling.toml:3: hooks.on_error: expected \"reject\" or \"allow\", got \"retry\"",
        ),
        (
            "[hooks]\nurl = \"http://x\"\ntimeout = \"5m\"",
            "starling.toml:3: hooks.timeout: expected a duration of 10ms to 1m, such as \"3s\", got \"5m\"",
        ),
        (
            "[webhooks]\nurl = \"http://x\"\nevents = [\"connected\", \"connected\"]",
            "starling.toml:3: webhooks.events: events[1] is listed twice",
        ),
        (
            "[webhooks]\nurl = \"http://x\"\nevents = []",
            "starling.toml:3: webhooks.events: expected at least one of \"channel_occupied\", \"channel_vacated\", \"member_added\", \"member_removed\", \"client_event\", \"connected\", \"disconnected\", \"cache_miss\" or \"subscription_count\"",
        ),
        (
            "[[webhooks]]\nurl = \"http://x\"\n[[webhooks]]\nformat = \"ably\"\nurl = \"http://y\"",
            "starling.toml:4: webhooks[1].format: expected \"starling\" or \"pusher\", got \"ably\"",
        ),
        (
            "[[channels]]\npublish = \"nobody\"",
            "starling.toml:1: channels[0].match: missing, expected a pattern of channel names, such as \"room:*\"",
        ),
        ("[[channels]]\nmatch = \"\"", "starling.toml:2: channels[0].match: expected a pattern of 1 to 255 bytes"),
        ("[[channels]]\nmatch = \"room:{id}\"", "starling.toml:2: channels[0].match: the only placeholder is {user}"),
        (
            "[[channels]]\nmatch = \"#user:*\"",
            "starling.toml:2: channels[0].match: channel names that start with # are reserved",
        ),
        (
            "[[channels]]\nmatch = \"a\\nb\"",
            "starling.toml:2: channels[0].match: channel names have no control characters",
        ),
        (
            "[[channels]]\nmatch = \"*\"\napp = \"2\"",
            "starling.toml:3: channels[0].app: expected the id of an app: \"1\", got \"2\"",
        ),
        (
            "[[channels]]\nmatch = \"*\"\nsubscribe = \"members\"",
            "starling.toml:3: channels[0].subscribe: expected \"anyone\", \"authenticated\" or \"granted\", got \"members\"",
        ),
        (
            "[[channels]]\nmatch = \"*\"\npublish = \"all\"",
            "starling.toml:3: channels[0].publish: expected \"nobody\", \"anyone\", \"authenticated\", \"members\" or \"granted\", got \"all\"",
        ),
        (
            "[[channels]]\nmatch = \"*\"\ndelivery = \"fast\"",
            "starling.toml:3: channels[0].delivery: expected \"reliable\", \"drop\" or \"latest\", got \"fast\"",
        ),
        (
            "[[channels]]\nmatch = \"*\"\npresence = \"yes\"",
            "starling.toml:3: channels[0].presence: expected true, false or { grace = \"5s\" }, got \"yes\"",
        ),
        (
            "[[channels]]\nmatch = \"*\"\npresence = { grace = 5 }",
            "starling.toml:3: channels[0].presence.grace: expected a duration of 0s to 1h, such as \"5s\", got 5",
        ),
        (
            "[[channels]]\nmatch = \"*\"\nhistory = { size = 10 }",
            "starling.toml:3: channels[0].history.ttl: missing, expected a duration, such as \"1h\"",
        ),
        (
            "[[channels]]\nmatch = \"*\"\nhistory = true",
            "starling.toml:3: channels[0].history: expected a table, { size = 1000, ttl = \"1h\" }, got true",
        ),
        (
            "[[channels]]\nmatch = \"*\"\n[[channels]]\nmatch = \"a\"",
            "starling.toml:4: channels[1].match: never used: the first rule that matches wins, and channels[0] already matches \"*\"",
        ),
        ("channels = [5]", "starling.toml:1: channels[0]: expected a table, got 5"),
    ] {
        assert_eq!(refused(&format!("{text}{APP}"), &[]), expected, "\n{text}");
    }
}

#[test]
fn apps_are_told_apart_and_have_secrets_of_their_own() {
    let app = |id: &str, key: &str, secret: &str| format!("[[apps]]\nid = {id}\nkey = {key}\nsecret = {secret}\n");
    let good = app("\"1\"", "\"k\"", "\"s3cret-of-its-own\"");
    let secret = "expected a secret of your own, such as `starling init` writes, got something else";
    for (text, expected) in [
        (
            String::new(),
            "starling.toml: apps: expected at least one [[apps]] with id, key and secret; `starling init` writes one"
                .into(),
        ),
        (
            app("1", "\"k\"", "\"own\""),
            "starling.toml:2: apps[0].id: expected digits in quotes, such as \"1\", got 1".into(),
        ),
        (
            app("\"a\"", "\"k\"", "\"own\""),
            "starling.toml:2: apps[0].id: expected digits in quotes, such as \"1\", got \"a\"".into(),
        ),
        (
            app("\"1\"", "\"a:b\"", "\"own\""),
            "starling.toml:3: apps[0].key: expected 1 to 64 letters, digits, - or _, got \"a:b\"".into(),
        ),
        (app("\"1\"", "\"k\"", "\"\""), format!("starling.toml:4: apps[0].secret: {secret}")),
        (app("\"1\"", "\"k\"", "\"…\""), format!("starling.toml:4: apps[0].secret: {secret}")),
        (app("\"1\"", "\"k\"", "\"Change-Me\""), format!("starling.toml:4: apps[0].secret: {secret}")),
        (app("\"1\"", "\"k\"", "12345678"), format!("starling.toml:4: apps[0].secret: {secret}")),
        (
            "[[apps]]\nid = \"1\"\nkey = \"k\"".into(),
            "starling.toml:1: apps[0].secret: missing, expected a secret of your own, such as `starling init` writes"
                .into(),
        ),
        (
            format!("{good}{}", app("\"1\"", "\"l\"", "\"own\"")),
            "starling.toml:6: apps[1].id: \"1\" is already the id of apps[0]".into(),
        ),
        (
            format!("{good}{}", app("\"2\"", "\"k\"", "\"own\"")),
            "starling.toml:7: apps[1].key: \"k\" is already the key of apps[0]".into(),
        ),
    ] {
        assert_eq!(refused(&text, &[]), expected, "\n{text}");
    }
}

#[test]
fn keys_of_user_tokens_fix_the_algorithm() {
    for (jwt, expected) in [
        (
            "{ alg = \"none\", secret = \"own\" }",
            "jwt[0].alg: expected \"HS256\", \"HS384\", \"HS512\", \"RS256\", \"ES256\" or \"EdDSA\", got \"none\"",
        ),
        (
            "{ secret = \"own\" }",
            "jwt[0].alg: missing, expected \"HS256\", \"HS384\", \"HS512\", \"RS256\", \"ES256\" or \"EdDSA\", as the algorithm is never taken from a token",
        ),
        ("{ alg = \"RS256\" }", "jwt[0]: expected exactly one of secret, public_key and jwks"),
        (
            "{ alg = \"RS256\", public_key = \"rsa-public.pem\", jwks = \"jwks.json\" }",
            "jwt[0]: expected exactly one of secret, public_key and jwks",
        ),
        // The old confusion: a public key that everybody knows, used as a shared secret.
        ("{ alg = \"HS256\", public_key = \"rsa-public.pem\" }", "jwt[0].alg: needs secret beside it, not public_key"),
        ("{ alg = \"RS256\", secret = \"own\" }", "jwt[0].alg: needs public_key beside it, not secret"),
        (
            "{ alg = \"RS256\", public_key = \"ec-public.pem\" }",
            "jwt[0].public_key: FOLDER/ec-public.pem is not a PEM public key for RS256",
        ),
        (
            "{ alg = \"RS256\", public_key = \"nowhere.pem\" }",
            "jwt[0].public_key: cannot open FOLDER/nowhere.pem: No such file or directory (os error 2)",
        ),
        (
            "{ alg = \"RS256\", jwks = \"jwks.json\" }",
            "jwt[0].alg: does not go with jwks, where each key has its own algorithm",
        ),
        (
            "{ jwks = \"http://login.example.com/jwks\" }",
            "jwt[0].jwks: expected an https:// URL, or the name of a file (http:// only from this machine)",
        ),
        ("{ jwks = \"cert.pem\" }", "jwt[0].jwks: FOLDER/cert.pem is not a JSON Web Key Set"),
        (
            "{ jwks = \"jwks.json\", audience = [] }",
            "jwt[0].audience: expected an aud claim that tokens must carry, or a list of them, got a list",
        ),
        (
            "{ jwks = \"jwks.json\", issuers = \"x\" }",
            "jwt[0].issuers: unknown key, did you mean issuer? accepted: alg, secret, public_key, jwks, issuer, audience",
        ),
    ] {
        assert_eq!(
            refused(&format!("{}jwt = [{jwt}]", APP.trim_start()), &[]),
            format!("starling.toml:5: apps[0].{expected}"),
            "{jwt}"
        );
    }
    let text = format!(
        "{}{}",
        APP.trim_start(),
        r#"jwt = [
            { alg = "RS256", public_key = "rsa-public.pem", issuer = "https://login", audience = ["a", "b"] },
            { alg = "ES256", public_key = "ec-public.pem" },
            { alg = "EdDSA", public_key = "ed-public.pem" },
            { alg = "HS384", secret = "another" },
            { jwks = "jwks.json" },
            { jwks = "https://login.example.com/jwks.json" },
            { jwks = "http://127.0.0.1:9/jwks.json", audience = "a" },
        ]"#
    );
    let config = parse(&text, &[]).unwrap_or_else(|errors| panic!("{errors:#}"));
    let [rs, es, ed, hs, file, https, http] = &config.apps[0].jwt[..] else { panic!("seven keys") };
    assert_eq!(
        rs.source,
        JwtSource::PublicKey { algorithm: JwtAlgorithm::Rs256, path: folder().join("rsa-public.pem") }
    );
    assert_eq!((rs.issuer.as_deref(), &rs.audience[..]), (Some("https://login"), &["a".to_owned(), "b".into()][..]));
    assert!(matches!(es.source, JwtSource::PublicKey { algorithm: JwtAlgorithm::Es256, .. }));
    assert!(matches!(ed.source, JwtSource::PublicKey { algorithm: JwtAlgorithm::EdDsa, .. }));
    assert!(
        matches!(&hs.source, JwtSource::Secret { algorithm: JwtAlgorithm::Hs384, secret } if secret.expose() == "another")
    );
    assert_eq!(file.source, JwtSource::JwksFile { path: folder().join("jwks.json") });
    assert_eq!(https.source, JwtSource::JwksUrl { url: "https://login.example.com/jwks.json".into() });
    assert_eq!(http.audience, ["a"]);
}

#[test]
fn one_run_reports_every_problem_in_the_order_of_the_file() {
    let text = "[server]\nlisten = [\"x\"]\n[limits]\nburst = 0\nbrust = 1\n[heartbeat]\ninterval = 3\n[[channels]]\nmatch = \"*\"\napp = \"7\"";
    let errors = refused(&format!("{text}{APP}"), &[("STARLING__AUTH__WHEN", "later")]);
    let places: Vec<&str> = errors.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(
        places,
        [
            "starling.toml:2",
            "starling.toml:4",
            "starling.toml:5",
            "starling.toml:7",
            "starling.toml:10",
            "STARLING__AUTH__WHEN"
        ]
    );
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_line() {
    let errors = refused("[server]\nworkers = \n", &[]);
    assert!(errors.starts_with("starling.toml:2: "), "{errors}");
    let errors = refused("[limits]\nburst = 1\nburst = 2\n", &[]);
    assert!(errors.starts_with("starling.toml:3: ") && errors.contains("duplicate"), "{errors}");
}

#[test]
fn the_line_is_shown_and_underlined_unless_it_may_hold_a_secret() {
    let shown = format!("{:#}", parse(&format!("[limits]\n  burst = \"viele\" # ja\n{APP}"), &[]).unwrap_err());
    let expected = "starling.toml:2: limits.burst: expected a whole number of messages, 1 to 1000000, got \"viele\"\n    2 |   burst = \"viele\" # ja\n      |           ^^^^^^^";
    assert_eq!(shown, expected);
    for text in [
        "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = 8765309",
        "apps = [{ id = \"x\", key = \"k\", secret = \"8765309\" }]",
        "[engine]\nurl = \"amqp://me:8765309@host\"\n[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"own\"",
        "[hooks]\nurl = \"ftp://me:8765309@host\"\n[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"own\"",
    ] {
        let errors = format!("{:#}", parse(text, &[]).unwrap_err());
        assert!(!errors.contains("8765309"), "{errors}");
    }
    let debug = format!("{:?}", accepted("", &[]));
    assert!(!debug.contains("a-secret-of-its-own"), "{debug}");
}

#[test]
fn the_environment_overrides_every_kind_of_key() {
    let text = "[server]\nlisten = [\"127.0.0.1:1\"]\n[limits]\nburst = 7\n";
    let config = accepted(
        text,
        &[
            ("STARLING__SERVER__LISTEN", "[\"127.0.0.1:2\", \"[::1]:3\"]"),
            ("STARLING__SERVER__ADMIN_LISTEN", "127.0.0.1:4"),
            ("STARLING__SERVER__MAX_PAYLOAD", "1MiB"),
            ("STARLING__SERVER__MAX_CONNECTIONS", "1_000"),
            ("STARLING__SERVER__COMPRESSION", "false"),
            ("STARLING__HEARTBEAT__INTERVAL", "5s"),
            ("STARLING__HEARTBEAT__TIMEOUT", "\"6s\""),
            ("STARLING__BACKPRESSURE__QUEUE_BYTES", "4096"),
            ("STARLING__AUTH__WHEN", "upgrade"),
            ("STARLING__TLS__CERT", "cert.pem"),
            ("STARLING__TLS__KEY", "key.pem"),
            ("STARLING__HOOKS__URL", "http://hooks"),
            ("STARLING__HOOKS__EVENTS", "[\"connect\"]"),
            ("STARLING__WEBHOOKS__URL", "http://webhooks"),
            ("STARLING__APPS__0__SECRET", "from-the-environment"),
            ("STARLING__APPS__1", "{ id = \"2\", key = \"b\", secret = \"c\" }"),
            ("STARLING__CHANNELS", "[{ match = \"a\" }, { match = \"b\" }]"),
            ("STARLING__CHANNELS__1__PRESENCE", "{ grace = \"5s\" }"),
            ("STARLING__CHANNELS__0__PRESENCE", "true"),
            ("STARLING__CHANNELS__0__HISTORY__SIZE", "10"),
            ("STARLING__CHANNELS__0__HISTORY__TTL", "10m"),
            ("STARLING_URL", "not part of the configuration"),
        ],
    );
    assert_eq!(config.server.listen, ["127.0.0.1:2".parse().unwrap(), "[::1]:3".parse().unwrap()]);
    assert_eq!(config.server.admin_listen, Some("127.0.0.1:4".parse().unwrap()));
    assert_eq!(
        (config.server.max_payload, config.server.max_connections, config.server.compression),
        (1 << 20, 1000, false)
    );
    assert_eq!((config.heartbeat.interval, config.heartbeat.timeout), (Duration::from_secs(5), Duration::from_secs(6)));
    assert_eq!((config.limits.burst, config.backpressure.queue_bytes, config.auth.when), (7, 4096, AuthWhen::Upgrade));
    assert_eq!(config.tls.unwrap().cert, folder().join("cert.pem"));
    assert_eq!(config.hooks.unwrap().events, [HookEvent::Connect]);
    assert_eq!(config.webhooks[0].url, "http://webhooks");
    assert_eq!((config.apps[0].secret.expose(), config.apps[1].id.as_str()), ("from-the-environment", "2"));
    assert_eq!(config.channels[0].presence, Some(PresenceRule { grace: Duration::ZERO }));
    assert_eq!(config.channels[1].presence, Some(PresenceRule { grace: Duration::from_secs(5) }));
    assert_eq!(config.channels[0].history, Some(HistoryRule { size: 10, ttl: Duration::from_secs(600) }));
}

#[test]
fn a_wrong_variable_is_refused_by_its_name() {
    for (name, value, expected) in [
        (
            "STARLING__LIMITS__BURST",
            "many",
            "limits.burst: expected a whole number of messages, 1 to 1000000, got \"many\"",
        ),
        ("STARLING__RECOVERY__WINDOWS", "5s", "recovery.windows: unknown key, did you mean window? accepted: window"),
        (
            "STARLING__SERVER__LISTEN",
            "0.0.0.0:80",
            "server.listen: expected a list, each an address and port, such as \"0.0.0.0:8080\" or \"[::]:8080\", got \"0.0.0.0:80\"",
        ),
        ("STARLING__LIMITS", "5", "limits: expected a table, [limits], got \"5\""),
        ("STARLING__LIMITS__", "5", "expected a name such as STARLING__LIMITS__BURST"),
        (
            "STARLING__APPS__2__ID",
            "5",
            "apps is a list: expected the number of an element, 0 to 1, or the whole list as TOML in STARLING__APPS",
        ),
        (
            "STARLING__APPS__SECRET",
            "5",
            "apps is a list: expected the number of an element, 0 to 1, or the whole list as TOML in STARLING__APPS",
        ),
        ("STARLING__APPS__0__SECRET__X", "5", "apps.0.secret is not a table"),
    ] {
        assert_eq!(refused(APP, &[(name, value)]), format!("{name}: {expected}"));
    }
}

#[test]
fn defaults_are_those_of_the_contract() {
    let config = accepted("", &[]);
    let secs = Duration::from_secs;
    assert_eq!(config.server.listen, ["0.0.0.0:8080".parse().unwrap()]);
    assert_eq!(
        (config.server.max_payload, config.server.max_connections, config.server.max_connections_per_ip),
        (65_536, 1_000_000, 0)
    );
    assert_eq!((config.server.handshake_timeout, config.server.shutdown_grace), (secs(10), secs(30)));
    assert!(config.server.compression && config.server.trusted_proxies.is_empty() && config.server.workers == 0);
    assert!(config.tls.is_none() && config.hooks.is_none() && config.webhooks.is_empty() && config.channels.is_empty());
    assert_eq!(config.origins, Origins { allow: AllowedOrigins::List(Vec::new()), require: false });
    assert_eq!(config.auth, Auth { when: AuthWhen::Any, timeout: secs(10), anonymous: false, query_token: false });
    assert_eq!(config.heartbeat, Heartbeat { interval: secs(25), timeout: secs(20) });
    let limits = &config.limits;
    assert_eq!((limits.messages_per_second, limits.burst, limits.subscriptions, limits.strikes), (100, 200, 1000, 50));
    assert_eq!(config.backpressure, Backpressure { high_water: 65_536, queue_messages: 500, queue_bytes: 1 << 20 });
    assert_eq!((config.recovery.window, config.engine), (secs(120), EngineUrl::Memory));
}

#[test]
fn development_is_open_on_this_machine_only() {
    let config = Config::dev();
    assert_eq!(config.server.listen, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!((config.apps.len(), config.apps[0].id.as_str(), config.apps[0].key.as_str()), (1, "1", "dev-key"));
    assert_eq!(config.apps[0].secret.expose(), "dev-secret");
    assert!(config.auth.anonymous && config.auth.query_token && config.origins.allow == AllowedOrigins::Any);
    let open = ChannelRule {
        pattern: "*".into(),
        app: None,
        subscribe: Subscribe::Anyone,
        publish: Publish::Anyone,
        presence: Some(PresenceRule { grace: Duration::ZERO }),
        history: Some(HistoryRule { size: 1000, ttl: Duration::from_secs(3600) }),
        delivery: Delivery::Reliable,
    };
    assert_eq!(config.channels, [open]);
}

#[test]
fn origins_are_kept_as_browsers_send_them() {
    let config = accepted(
        "[origins]\nallow = [\"https://App.Example.com:443\", \"http://localhost:3000\", \"capacitor://localhost\", \"null\"]",
        &[],
    );
    let expected = ["https://app.example.com", "http://localhost:3000", "capacitor://localhost", "null"];
    assert_eq!(config.origins.allow, AllowedOrigins::List(expected.map(str::to_owned).into()));
    assert_eq!(accepted("[origins]\nallow = [\"*\"]", &[]).origins.allow, AllowedOrigins::Any);
}
