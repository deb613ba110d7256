//! Watching a connection that works: whether its server still answers, and takes writes.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value, cmd};

use crate::broker::Shared;
use crate::lane::Lane;
use crate::link::Link;
use crate::script;
use crate::writes;

/// Between two looks at a server that is not used.
const WATCH_EVERY: Duration = Duration::from_secs(3);

/// Names that are tried to find one of a slot that a master has.
const NAMES_TRIED: usize = 10_000;

/// Between two looks, whatever is refused meanwhile.
const BREATH: Duration = Duration::from_millis(50);

impl Lane {
    /// Notices a server that says nothing, and one that takes no writes.
    pub async fn watch(self: &Arc<Self>, shared: &Arc<Shared>, link: &Link) {
        let ping = cmd("PING");
        let mut connections = [link.commands.clone(), link.pushes.clone()];
        loop {
            let pause = match self.writes.are_taken() {
                true => (shared.options.lease / 3).min(WATCH_EVERY),
                false => writes::TRY_AGAIN,
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // Not more often, whatever is refused.
                () = self.writes.suspicion(), if self.writes.are_taken() => {}
            }
            for connection in &mut connections {
                let answer = connection.send_packed_command(&ping).await;
                if answer.is_err() || matches!(answer, Ok(Value::ServerError(_))) {
                    return;
                }
            }
            let Some(probe) = self.probe(shared) else { continue };
            match connections[0].send_packed_command(&probe).await {
                Err(_) => return,
                Ok(answer) => {
                    let refused = if let Value::ServerError(error) = &answer { Some(error) } else { None };
                    // What presence could not be restored meanwhile.
                    if self.writes.tried(&self.place.to_string(), refused)
                        && shared.restore_presence(self).await.is_err()
                    {
                        return;
                    }
                }
            }
            tokio::time::sleep(BREATH).await;
        }
    }

    /// A command that writes something to this master; in a Cluster, under a name of one of its slots.
    fn probe(&self, shared: &Shared) -> Option<Cmd> {
        let is_ours = |key: &String| shared.topology.lane(key).is_some_and(|lane| lane.id == self.id);
        let names = std::iter::once(shared.keys.probe());
        let mut names = names.chain((0..NAMES_TRIED).map(|number| shared.keys.numbered_probe(number)));
        let mut write = script::PROBE.run(&[names.find(is_ours)?]);
        write.arg("");
        Some(write)
    }
}
