//! `init`, `check` and `token` as a user runs them: the built binary, its output and its exit codes.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

/// Runs the binary in `folder`, without the variables of the one who runs the tests.
fn starling(folder: &Path, args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
    command.current_dir(folder).args(args).env_clear().envs(variables.iter().copied());
    command.output().expect("the binary runs")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it exits")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("text")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("text")
}

/// A folder with a configuration from `init`.
fn initialised() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let output = starling(folder.path(), &["init"], &[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    folder
}

fn secret(folder: &Path) -> String {
    let text = std::fs::read_to_string(folder.join("starling.toml")).unwrap();
    let line = text.lines().find(|line| line.starts_with("secret = ")).unwrap();
    line.split('"').nth(1).unwrap().to_owned()
}

fn claims(token: &str, algorithm: Algorithm, secret: &str) -> Value {
    let mut validation = Validation::new(algorithm);
    validation.validate_aud = false;
    jsonwebtoken::decode(token.trim(), &DecodingKey::from_secret(secret.as_bytes()), &validation)
        .expect("a valid token")
        .claims
}

#[test]
fn what_init_writes_is_valid_and_private() {
    let folder = initialised();
    let file = folder.path().join("starling.toml");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let output = starling(folder.path(), &["check"], &[]);
    assert_eq!((code(&output), stdout(&output)), (0, "starling.toml: valid: 1 app, 2 channel rules, engine memory\n"));
}

#[test]
fn init_never_overwrites() {
    let folder = initialised();
    let before = std::fs::read(folder.path().join("starling.toml")).unwrap();
    let output = starling(folder.path(), &["init"], &[]);
    assert_eq!(code(&output), 1);
    assert_eq!(
        stderr(&output),
        "starling: starling.toml exists already, and init never overwrites: name another file, or move it away\n"
    );
    assert_eq!(std::fs::read(folder.path().join("starling.toml")).unwrap(), before);

    // Not even through a link that leads nowhere yet.
    std::os::unix::fs::symlink(folder.path().join("target.toml"), folder.path().join("link.toml")).unwrap();
    assert_eq!(code(&starling(folder.path(), &["init", "link.toml"], &[])), 1);
    assert!(!folder.path().join("target.toml").exists());
}

#[test]
fn check_names_every_problem_and_exits_2() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("s.toml"),
        "[limits]\nburst = \"many\"\n[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"own\"\n",
    )
    .unwrap();
    let output = starling(folder.path(), &["check", "--config", "s.toml"], &[("STARLING__AUTH__ANONYMOUS", "perhaps")]);
    let expected = "s.toml:2: limits.burst: expected a whole number of messages, 1 to 1000000, got \"many\"
    2 | burst = \"many\"
      |         ^^^^^^
STARLING__AUTH__ANONYMOUS: auth.anonymous: expected true or false, got \"perhaps\"
starling: 2 problems in the configuration
";
    assert_eq!((code(&output), stderr(&output)), (2, expected));

    let output = starling(folder.path(), &["check", "--config", "s.toml"], &[("STARLING__LIMITS__BURST", "5")]);
    assert_eq!(code(&output), 0, "the variable takes the place of the wrong value");

    let output = starling(folder.path(), &["check"], &[]);
    assert_eq!(code(&output), 2);
    assert!(
        stderr(&output).starts_with("starling.toml: cannot read the configuration: No such file"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn files_are_relative_to_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("etc");
    std::fs::create_dir(&inner).unwrap();
    for name in ["cert.pem", "key.pem"] {
        std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys").join(name), inner.join(name)).unwrap();
    }
    let text = "[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"own\"\n";
    std::fs::write(inner.join("s.toml"), text).unwrap();
    let output = starling(folder.path(), &["check", "--config", "etc/s.toml"], &[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
}

#[test]
fn serve_without_a_configuration_points_at_init() {
    let folder = tempfile::tempdir().unwrap();
    let output = starling(folder.path(), &["serve"], &[]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("starling init"), "{}", stderr(&output));
}

#[test]
fn an_engine_that_is_not_in_this_build_or_cannot_work_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let output = starling(folder.path(), &["serve", "--dev", "--engine", "kafka://127.0.0.1?colour=red"], &[]);
    assert_eq!(code(&output), 2);
    let expected = if cfg!(feature = "kafka") {
        "the engine kafka can never work like this: invalid Kafka url: unknown option \"colour\""
    } else {
        "the engine \"kafka\" is not in this build, which has: memory, redis, nats"
    };
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
}

#[test]
fn a_token_carries_what_was_asked_for() {
    let folder = initialised();
    let args = [
        "token",
        "--user",
        "ada",
        "--ttl",
        "2m",
        "--subscribe",
        "room:*",
        "--subscribe",
        "b",
        "--publish",
        "room:1",
        "--info",
        r#"{"n":12345678901234567890123}"#,
    ];
    let output = starling(folder.path(), &args, &[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let claims = claims(stdout(&output), Algorithm::HS256, &secret(folder.path()));
    assert_eq!(claims["sub"], "ada");
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 120);
    assert_eq!((&claims["subscribe"], &claims["publish"]), (&json!(["room:*", "b"]), &json!(["room:1"])));
    assert_eq!(claims.get("app"), None, "the only app goes without saying");
}

#[test]
fn a_token_is_signed_with_a_given_secret() {
    let folder = tempfile::tempdir().unwrap();
    let output = starling(folder.path(), &["token", "--user", "ada", "--secret", "s3cret", "--app", "7"], &[]);
    let named = claims(stdout(&output), Algorithm::HS256, "s3cret");
    assert_eq!((&named["sub"], &named["app"], named.get("subscribe")), (&json!("ada"), &json!("7"), None));
    let output = starling(folder.path(), &["token", "--user", "ada"], &[("STARLING_SECRET", "s3cret")]);
    assert_eq!(claims(stdout(&output), Algorithm::HS256, "s3cret")["sub"], "ada");

    // A configuration that is named wins over the environment, and does not go with a secret that is named too.
    let folder = initialised();
    let args = ["token", "--user", "ada", "--config", "starling.toml"];
    let output = starling(folder.path(), &args, &[("STARLING_SECRET", "s3cret")]);
    assert_eq!(claims(stdout(&output), Algorithm::HS256, &secret(folder.path()))["sub"], "ada");
    let output = starling(folder.path(), &[&args[..], &["--secret", "s3cret"]].concat(), &[]);
    assert_eq!(code(&output), 2);
}

#[test]
fn a_token_for_one_of_several_apps_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"apps = [
        { id = "1", key = "a", secret = "first" },
        { id = "2", key = "b", secret = "second", jwt = [{ alg = "HS512", secret = "third", issuer = "i", audience = ["x", "y"] }] },
        { id = "3", key = "c", secret = "fourth", jwt = [{ jwks = "https://login.example.com/jwks.json" }] },
    ]"#;
    std::fs::write(folder.path().join("starling.toml"), text).unwrap();
    let token = |args: &[&str]| starling(folder.path(), &[&["token", "--user", "ada"], args].concat(), &[]);

    let output = token(&[]);
    assert_eq!(
        (code(&output), stderr(&output)),
        (2, "starling: the configuration has several apps: choose one with --app: 1, 2, 3\n")
    );
    let output = token(&["--app", "4"]);
    assert_eq!((code(&output), stderr(&output)), (2, "starling: no app 4, the configuration has: 1, 2, 3\n"));
    assert_eq!(claims(stdout(&token(&["--app", "1"])), Algorithm::HS256, "first")["app"], "1");
    let second = claims(stdout(&token(&["--app", "2"])), Algorithm::HS512, "third");
    assert_eq!((&second["app"], &second["iss"], &second["aud"]), (&json!("2"), &json!("i"), &json!("x")));
    let output = token(&["--app", "3"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("app 3 takes only tokens signed by the keys of its `jwt`"), "{}", stderr(&output));
}

#[test]
fn wrong_usage_exits_2() {
    let folder = initialised();
    for args in [
        &["token"][..],
        &["token", "--user", ""],
        &["token", "--user", "ada", "--ttl", "soon"],
        &["token", "--user", "ada", "--info", "[1]"],
        &["token", "--user", "ada", "--info", "{"],
        &["token", "--user", "ada", "--config", "nowhere.toml"],
        &["serve", "--listen", "8080"],
        &["serve", "--dev", "--log", "info,,=x"],
        &["nothing"],
        &[],
    ] {
        let output = starling(folder.path(), args, &[]);
        assert_eq!(code(&output), 2, "{args:?}: {}", stderr(&output));
        assert!(stdout(&output).is_empty() && !stderr(&output).is_empty(), "{args:?}");
    }
    assert_eq!(code(&starling(folder.path(), &["--help"], &[])), 0);
    assert_eq!(code(&starling(folder.path(), &["--version"], &[])), 0);
}

#[test]
fn check_understands_the_url_of_the_engine() {
    for url in ["redis://127.0.0.1/x", "nats://127.0.0.1?bogus=1"] {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("[engine]\nurl = \"{url}\"\n[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"own\"\n");
        std::fs::write(folder.path().join("starling.toml"), text).unwrap();
        let output = starling(folder.path(), &["check"], &[]);
        assert_eq!(code(&output), 2, "{url}");
        let told = stderr(&output);
        assert!(told.contains("starling.toml:2") && told.contains("can never work"), "{told}");
    }
}
