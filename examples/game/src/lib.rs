//! A game: players join `game:{id}`, move, and see each other.
//!
//! Games 1 to 99 are open to everybody, guests included; games from 100 on are league games, for players with a token;
//! there is no game 0.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::json;
use starling::core::{ErrorCode, Refusal};
use starling::handlers::{Answer, Channel, Handlers, Join, Member, Newcomer, Welcome};

/// Width and height of the board.
const SIZE: u32 = 100;

/// What a connection carries.
pub struct Player {
    is_guest: bool,
}

/// Which game: what `{id}` stands for.
#[derive(Deserialize)]
pub struct GameId(u64);

#[derive(Deserialize)]
struct Move {
    x: u32,
    y: u32,
}

/// What everybody in the game is told of a move.
#[derive(Serialize)]
struct Moved<'a> {
    player: Option<&'a str>,
    x: u32,
    y: u32,
}

#[derive(Serialize)]
struct Time {
    /// The server's time, in Unix milliseconds.
    time: u64,
}

/// The handlers of the game.
pub fn handlers() -> Handlers<Player> {
    let game = Channel::new("game:{id}").presence().on_join(join).on("move", moved).on("ping", ping);
    Handlers::connecting(connect).channel(game)
}

/// Whoever has no token is a guest, named after the connection.
async fn connect(newcomer: Newcomer) -> Answer<Welcome<Player>> {
    let guest = format!("guest-{}", newcomer.id());
    match newcomer.user() {
        Some(_) => Ok(Welcome::new(Player { is_guest: false })),
        None => Ok(Welcome::new(Player { is_guest: true }).user(guest)),
    }
}

async fn join(member: Member<GameId, Player>) -> Answer<Join> {
    let GameId(id) = *member.params();
    match id {
        0 => return Err(Refusal::custom("NO_SUCH_GAME", "there is no game 0")),
        100.. if member.state().is_guest => {
            return Err(Refusal::new(ErrorCode::Forbidden, "league games are for players with a token"));
        }
        _ => {}
    }
    let reply = json!({"game": id, "size": SIZE, "you": member.user_id()});
    Ok(Join::accept().reply(reply).present_with(&json!({"online_at": now(), "status": "online"})))
}

async fn moved(member: Member<GameId, Player>, Move { x, y }: Move) -> Answer {
    if x >= SIZE || y >= SIZE {
        return Err(Refusal::custom("OFF_BOARD", format!("the board is {SIZE} by {SIZE}")));
    }
    member.broadcast("player_moved", Moved { player: member.user_id(), x, y }).await?;
    Ok(())
}

async fn ping(_: Member<GameId, Player>) -> Answer<Time> {
    Ok(Time { time: now() })
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
