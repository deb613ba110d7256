//! `starling subscribe`: prints the messages of channels as JSON lines.

use std::io::{ErrorKind, Write};

use anyhow::{Context, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use serde::Serialize;
use serde_json::value::RawValue;
use starling_client::{Client, Error, Item, Message, Payload, Position, Status, SubscribeOptions, Transport};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::backend::base_url;
use crate::failure::Failure;

/// Items of all channels that wait to be printed.
const QUEUE: usize = 256;

/// Prints each message of the channels as one JSON line. Reconnects and recovers; notes about that are on standard error.
#[derive(Debug, clap::Args)]
pub struct SubscribeArgs {
    /// The channels
    #[arg(required = true, value_name = "CHANNEL")]
    channels: Vec<String>,
    /// The server
    #[arg(long, value_name = "URL", env = "STARLING_URL", default_value = "http://127.0.0.1:8080", value_parser = base_url)]
    url: Url,
    /// A user's JSON Web Token, such as `starling token` prints [default: none, an anonymous connection]
    #[arg(long, value_name = "TOKEN", env = "STARLING_TOKEN", hide_env_values = true, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    token: Option<String>,
    /// Print what came after this position first: epoch and offset of a message, for one channel [default: only what comes from now on]
    #[arg(long, value_name = "EPOCH:OFFSET", value_parser = position)]
    since: Option<Position>,
    /// Use this way to the server alone: websocket, sse or poll [default: the first of them that gets through]
    #[arg(long, value_name = "TRANSPORT", value_parser = transport)]
    transport: Option<Transport>,
}

/// The native `message` object.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    r#type: &'static str,
    channel: &'a str,
    event: &'a str,
    payload: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
    id: &'a str,
    ts: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<&'a str>,
}

/// What a channel gives: items, and at the end why it ended.
type Given = (String, Result<Item, Error>);

/// Prints messages until it is interrupted.
///
/// # Errors
///
/// A subscription that was refused, or a connection that cannot be had.
pub fn run(args: SubscribeArgs) -> Result<(), Failure> {
    if args.since.is_some() && args.channels.len() > 1 {
        return Err(Failure::Usage("--since is a position in one channel, and there are several".into()));
    }
    // Printing may block, which must not keep the connection from being served: that has the other thread.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let ended = runtime.block_on(print(args));
    runtime.shutdown_background();
    ended
}

async fn print(args: SubscribeArgs) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let client = tokio::select! {
        client = connect(&args) => client?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    let mut status = client.status();
    status.mark_unchanged();
    let mut given = subscribe(&client, &args);
    let mut left = args.channels.len();
    let mut output = std::io::stdout().lock();
    loop {
        let more = tokio::select! {
            given = given.recv() => match given {
                Some((channel, Ok(item))) => show(&mut output, &channel, item, &mut left)?,
                Some((_, Err(error @ Error::Lost(_)))) => return Err(Failure::Failed(error.into())),
                Some((channel, Err(error))) => return Err(refused(&args, &channel, &error)),
                None => return Err(ended(&client)),
            },
            Ok(()) = status.changed() => {
                note_status(&status.borrow_and_update().clone());
                true
            }
            _ = interrupt.recv() => false,
            _ = terminate.recv() => false,
        };
        if !more {
            client.close().await;
            return Ok(());
        }
        if left == 0 {
            client.close().await;
            return Err(Failure::Failed(anyhow!("no subscription is left")));
        }
    }
}

async fn connect(args: &SubscribeArgs) -> Result<Client, Failure> {
    let mut endpoint = args.url.clone();
    let path = format!("{}/ws", endpoint.path().trim_end_matches('/'));
    endpoint.set_path(&path);
    let builder = Client::builder(endpoint).transports(args.transport);
    let builder = match &args.token {
        Some(token) => builder.token(token),
        None => builder,
    };
    builder.connect().await.map_err(|error| match &error {
        Error::Url { .. } => Failure::Usage(error.to_string()),
        Error::Refused(refusal) if refusal.code == "AUTH_REQUIRED" && args.token.is_none() => {
            Failure::Failed(anyhow!("{error}; give a token with --token, such as `starling token` prints"))
        }
        _ => Failure::Failed(error.into()),
    })
}

/// Subscribes to all channels at once, each of which then passes on what it gives.
fn subscribe(client: &Client, args: &SubscribeArgs) -> mpsc::Receiver<Given> {
    let (giver, given) = mpsc::channel(QUEUE);
    for channel in args.channels.clone() {
        let (client, giver) = (client.clone(), giver.clone());
        let options = match &args.since {
            Some(position) => SubscribeOptions::default().since(position.clone()),
            None => SubscribeOptions::default(),
        };
        tokio::spawn(async move {
            let mut subscription = match client.subscribe(&channel, options).await {
                Ok(subscription) => subscription,
                Err(error) => {
                    let _ = giver.send((channel, Err(error))).await;
                    return;
                }
            };
            while let Some(item) = subscription.next().await {
                if giver.send((channel.clone(), Ok(item))).await.is_err() {
                    return;
                }
            }
        });
    }
    given
}

/// Prints an item; `false` when nobody reads any more.
fn show(output: &mut impl Write, channel: &str, item: Item, left: &mut usize) -> Result<bool, Failure> {
    match item {
        Item::Message(message) => {
            let line = to_line(&message).context("cannot write the message as JSON")?;
            match writeln!(output, "{line}").and_then(|()| output.flush()) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(false),
                Err(error) => return Err(Failure::Failed(anyhow::Error::new(error).context("cannot write"))),
            }
        }
        Item::Gap { missed, announced: true } => {
            note(format_args!("{missed} messages of {channel:?} were left out, because this end was too slow"))
        }
        Item::Gap { missed, .. } => note(format_args!("{missed} messages of {channel:?} did not come")),
        Item::Recovered(true) => {}
        Item::Recovered(false) => {
            note(format_args!("messages of {channel:?} may be missing here: they could not be recovered"))
        }
        Item::Unsubscribed(refusal) => {
            note(format_args!("the server ended the subscription to {channel:?}: {refusal}"));
            *left -= 1;
        }
        _ => {}
    }
    Ok(true)
}

/// A message as one line. The payload is as it was published, save that line breaks in it become spaces.
fn to_line(message: &Message) -> serde_json::Result<String> {
    let (payload, encoding) = match &message.payload {
        Payload::Json(json) => (json.as_str().replace(['\n', '\r'], " "), None),
        Payload::Binary(bytes) => (serde_json::to_string(&STANDARD.encode(bytes))?, Some("base64")),
    };
    serde_json::to_string(&Line {
        r#type: "message",
        channel: &message.channel,
        event: &message.event,
        payload: RawValue::from_string(payload)?,
        encoding,
        id: &message.id,
        ts: message.ts,
        user_id: message.user_id.as_deref(),
        offset: message.position.as_ref().map(|position| position.offset),
        epoch: message.position.as_ref().map(|position| position.epoch.as_str()),
    })
}

fn refused(args: &SubscribeArgs, channel: &str, error: &Error) -> Failure {
    let hint = match error {
        Error::Refused(refusal) if refusal.code == "AUTH_REQUIRED" && args.token.is_none() => {
            "; give a token with --token, such as `starling token` prints"
        }
        _ => "",
    };
    Failure::Failed(anyhow!("subscription to {channel:?} refused: {error}{hint}"))
}

/// Why there is nothing more to come.
fn ended(client: &Client) -> Failure {
    let status = client.status().borrow().clone();
    match status {
        Status::Closed(reason) => Failure::Failed(reason.into()),
        _ => Failure::Failed(anyhow!("no subscription is left")),
    }
}

fn note_status(status: &Status) {
    match status {
        Status::Connected { .. } => note("connected again"),
        Status::Waiting { reason, retry_in } => {
            note(format_args!("{reason}; trying again in {:.1} s", retry_in.as_secs_f32()))
        }
        // Told as the reason of the end.
        _ => {}
    }
}

fn note(text: impl std::fmt::Display) {
    eprintln!("starling: {text}");
}

fn transport(text: &str) -> Result<Transport, String> {
    let named = Transport::ALL.into_iter().find(|transport| transport.name() == text);
    named.ok_or_else(|| "expected websocket, sse or poll".into())
}

fn position(text: &str) -> Result<Position, String> {
    let parsed = text.rsplit_once(':').and_then(|(epoch, offset)| Some((epoch, offset.parse().ok()?)));
    match parsed {
        Some((epoch, offset)) if !epoch.is_empty() => Ok(Position { epoch: epoch.into(), offset }),
        _ => Err("expected an epoch and an offset, such as Xk3v9Q:42".into()),
    }
}
