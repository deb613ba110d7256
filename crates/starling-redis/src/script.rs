//! The scripts that run in Redis, and the commands that run them.

use std::sync::LazyLock;

use redis::{Cmd, ToRedisArgs, cmd};

/// One script, known to Redis by the hash of its text.
pub(crate) struct Script {
    text: String,
    hash: String,
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident: $($file:literal),+;)*) => {
        $($(#[$doc])*
        pub(crate) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new([$(include_str!(concat!("lua/", $file, ".lua"))),+].concat()));)*

        /// All of them, to be loaded when a connection is made.
        pub(crate) fn all() -> Vec<&'static Script> {
            vec![$(&$name),*]
        }
    };
}

scripts! {
    /// Takes a message.
    PUBLISH: "log", "publish";
    /// Reads a log.
    HISTORY: "log", "entries", "history";
    /// Forgets messages that are too old.
    TRIM: "log", "entries", "trim";
    /// Starts a new epoch.
    CLEAR: "log", "clear";
    /// What a log has at a place.
    WITNESS: "log", "entries", "witness";
    /// Adds a presence entry.
    ENTER: "presence", "enter";
    /// Removes one.
    LEAVE: "presence", "leave";
    /// Gives one a time of grace.
    LINGER: "presence", "linger";
    /// Ends it.
    EXPIRE: "presence", "expire";
    /// Ends the entries of a dead node.
    REAP: "presence", "reap";
    /// Lists a presence set.
    MEMBERS: "presence", "members";
    /// Renews a node's lease.
    BEAT: "beat";
    /// Keeps a note.
    NOTE: "notes", "note";
    /// Tries whether writes are taken.
    PROBE: "probe";
    /// Finds notes.
    FIND_NOTES: "notes", "find_notes";
}

impl Script {
    fn new(text: String) -> Self {
        let hash = sha1_smol::Sha1::from(&text).digest().to_string();
        Self { text, hash }
    }

    /// The command that loads it.
    pub fn load(&self) -> Cmd {
        let mut load = cmd("SCRIPT");
        load.arg("LOAD").arg(&self.text);
        load
    }

    /// The command that runs it; arguments are to be added.
    pub fn run<K: ToRedisArgs>(&self, keys: &[K]) -> Cmd {
        let mut run = cmd("EVALSHA");
        run.arg(&self.hash).arg(keys.len());
        keys.iter().for_each(|key| _ = run.arg(key));
        run
    }
}
