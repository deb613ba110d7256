//! Publishing over HTTP APIs: Starling's own, and that of Pusher.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::{Digest, Md5};
use serde_json::json;
use starling_proto::pusher::sign;

use crate::target::{App, Target};

/// An HTTP API that takes messages.
#[derive(Debug, Clone)]
pub enum Api {
    /// `POST /api/publish` with HTTP Basic.
    Starling(App),
    /// `POST /apps/{id}/events`, signed.
    Pusher(App),
}

impl Api {
    /// The whole request that publishes `text` to `channel`.
    pub fn publish(&self, target: &Target, channel: &str, event: &str, text: &str) -> Vec<u8> {
        let Target { authority, prefix, .. } = target;
        let (path, authorization, body) = match self {
            Self::Starling(App { key, secret, .. }) => {
                let credentials = STANDARD.encode(format!("{key}:{secret}"));
                let body = json!({"channel": channel, "event": event, "payload": text}).to_string();
                (format!("{prefix}/api/publish"), format!("Authorization: Basic {credentials}\r\n"), body)
            }
            Self::Pusher(app) => {
                // The data of an event is a text; this one is JSON, as server SDKs send it.
                let data = json!({ "b": text }).to_string();
                let body = json!({"name": event, "channels": [channel], "data": data}).to_string();
                (signed(app, prefix, &body), String::new(), body)
            }
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {authority}\r\n{authorization}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        (head + &body).into_bytes()
    }

    /// Bytes of a payload, as JSON, beside the text in it.
    pub fn overhead(&self) -> usize {
        match self {
            Self::Starling(_) => r#""""#.len(),
            Self::Pusher(_) => r#"{"b":""}"#.len(),
        }
    }
}

/// The path and query of an event with this `body`, signed as "Generating authentication signatures" has it. The path
/// that is signed is the one that the server sees behind a `prefix`.
fn signed(app: &App, prefix: &str, body: &str) -> String {
    let App { id, key, secret } = app;
    let md5: String = Md5::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let query = format!("auth_key={key}&auth_timestamp={now}&auth_version=1.0&body_md5={md5}");
    let path = format!("/apps/{id}/events");
    let signature = sign(secret, format!("POST\n{path}\n{query}").as_bytes());
    format!("{prefix}{path}?{query}&auth_signature={signature}")
}
