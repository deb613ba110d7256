//! The dependency rule of `docs/architecture.md`, where manifests alone do not enforce it.

use std::fs;
use std::path::{Path, PathBuf};

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a crate lives in crates/").to_owned()
}

/// The names under `[dependencies]` of a manifest.
fn dependencies(crate_name: &str) -> Vec<String> {
    let manifest = fs::read_to_string(crates().join(crate_name).join("Cargo.toml")).unwrap();
    let section = manifest.split("[dependencies]").nth(1).expect("every crate has dependencies");
    let lines = section.lines().take_while(|line| !line.starts_with('['));
    lines
        .filter_map(|line| line.split(['.', '=', ' ']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            sources(&entry, into);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            into.push(entry);
        }
    }
}

#[test]
fn each_crate_depends_only_on_what_is_below_it() {
    let own = |name: &str| dependencies(name).into_iter().filter(|d| d.starts_with("starling")).collect::<Vec<_>>();
    assert!(own("starling-core").is_empty());
    assert_eq!(own("starling-proto"), ["starling-core"]);
    assert_eq!(own("starling-hub"), ["starling-core"]);
    assert_eq!(own("starling-wire"), ["starling-core"]);
    assert_eq!(own("starling-redis"), ["starling-core"]);
    assert_eq!(own("starling-nats"), ["starling-core", "starling-wire"]);
    assert_eq!(own("starling-kafka"), ["starling-core", "starling-wire"]);
    assert_eq!(own("starling-client"), ["starling-core", "starling-proto"]);
    assert_eq!(own("starling"), ["starling-core", "starling-hub", "starling-proto"]);
}

#[test]
fn lower_layers_list_no_runtime_and_no_sockets() {
    for name in ["starling-core", "starling-proto", "starling-hub"] {
        for forbidden in ["tokio", "mio", "hyper", "http", "reqwest", "rustls", "toml", "clap", "socket2"] {
            assert!(!dependencies(name).iter().any(|d| d == forbidden), "{name} lists {forbidden}");
        }
    }
    assert!(!dependencies("starling-proto").iter().any(|d| d == "getrandom"), "sessions draw no random numbers");
    assert!(!dependencies("starling").iter().any(|d| d == "toml" || d == "clap"), "only the CLI reads configuration");
}

#[test]
fn core_and_hub_name_no_protocol() {
    for name in ["starling-core", "starling-hub"] {
        let mut files = Vec::new();
        sources(&crates().join(name).join("src"), &mut files);
        for file in files {
            let text = fs::read_to_string(&file).unwrap().to_lowercase();
            for word in ["websocket", "socketio", "socket.io", "engine.io", "pusher", "phx_", "ably", "msgpack"] {
                assert!(!contains_word(&text, word), "{} says {word:?}", file.display());
            }
        }
    }
}

/// Whether `text` has `word`, not as the end of a longer one ("probably", "suitably").
fn contains_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| !text[..at].ends_with(|c: char| c.is_alphabetic()))
}

#[test]
fn sessions_and_hub_read_no_clock() {
    for name in ["starling-core", "starling-proto", "starling-hub"] {
        let mut files = Vec::new();
        sources(&crates().join(name).join("src"), &mut files);
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for call in ["Instant::now", "SystemTime::now", "thread::sleep"] {
                assert!(!text.contains(call), "{} calls {call}", file.display());
            }
        }
    }
}
