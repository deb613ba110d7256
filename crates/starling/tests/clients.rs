//! Clients of other crates, against a whole server in this process.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use starling::auth::AppKeys;
use starling::core::{
    Access, Application, Caller, ChannelName, Decision, HistoryPolicy, Pattern, Payload, Pending, PublishAccess,
    Refusal, Rule, RuleSet,
};
use starling::{Options, Server, TlsFiles};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

fn options() -> Options {
    let mut options = Options::default();
    options.listen = vec!["127.0.0.1:0".parse().unwrap()];
    options.workers = 2;
    options.live.apps = vec![AppKeys::new("1", "key", "a secret of some length")];
    options.live.auth.anonymous = true;
    let mut rule = Rule::new(Pattern::parse("*").unwrap());
    rule.subscribe = Access::Anyone;
    rule.publish = PublishAccess::Anyone;
    rule.history = Some(HistoryPolicy { size: 100, ttl: Duration::from_secs(60) });
    options.live.rules = RuleSet::new([rule]);
    options
}

fn start(options: Options) -> (Server, SocketAddr) {
    let server = Server::start(options).unwrap();
    let address = server.addresses()[0];
    (server, address)
}

/// What each client is put through: an answer, a message of its own, and a clean close.
async fn converse<S, M, E>(socket: &mut S, text: impl Fn(String) -> M, read: impl Fn(M) -> Option<String>)
where
    S: SinkExt<M, Error = E> + StreamExt<Item = Result<M, E>> + Unpin,
    E: std::fmt::Debug,
{
    let say = |value: Value| text(value.to_string());
    socket.send(say(json!({"type": "subscribe", "channel": "room", "id": 1}))).await.unwrap();
    let payload = json!({"long": "x".repeat(2000)});
    socket.send(say(json!({"type": "publish", "channel": "room", "payload": payload, "id": 2}))).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let message = socket.next().await.expect("the server stays").unwrap();
        if let Some(message) = read(message) {
            seen.push(serde_json::from_str::<Value>(&message).unwrap());
        }
    }
    assert_eq!(seen[0]["type"], "ack");
    assert_eq!(seen[0]["channel"], "room");
    let message = seen.iter().find(|message| message["type"] == "message").expect("its own message comes back");
    assert_eq!(message["payload"], payload);
    assert_eq!(message["offset"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokio_tungstenite_converses() {
    use tokio_tungstenite::tungstenite::Message;
    let (server, address) = start(options());
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}/ws")).await.unwrap();
    converse(&mut socket, Message::text, |message| message.into_text().ok().map(|t| t.to_string())).await;
    socket.close(None).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        assert!(message.is_close(), "nothing but the server's good-bye follows: {message:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokio_websockets_converses() {
    use tokio_websockets::{ClientBuilder, Message};
    let (server, address) = start(options());
    let uri = format!("ws://{address}/ws");
    let (mut socket, _) = ClientBuilder::new().uri(&uri).unwrap().connect().await.unwrap();
    converse(&mut socket, Message::text, |message| message.as_text().map(str::to_owned)).await;
    socket.close().await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_converses_and_takes_a_new_certificate_without_dropping_anybody() {
    use tokio_tungstenite::tungstenite::Message;
    let folder = tempfile::tempdir().unwrap();
    let files = TlsFiles { cert: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    let first = certify(&files);
    let mut settings = options();
    settings.live.tls = Some(files.clone());
    let live = settings.live.clone();
    let (server, address) = start(settings);
    let mut socket = connect_tls(address, first.clone()).await.expect("the first certificate is served");
    converse(&mut socket, Message::text, |message| message.into_text().ok().map(|t| t.to_string())).await;

    let second = certify(&files);
    server.reload(live).unwrap();
    assert!(connect_tls(address, first).await.is_err(), "the first certificate is served no longer");
    assert!(connect_tls(address, second).await.is_ok(), "the second one is");
    socket.send(Message::text(r#"{"type":"ping","id":3}"#)).await.unwrap();
    let answer = socket.next().await.unwrap().unwrap();
    assert_eq!(answer.to_text().unwrap(), r#"{"type":"pong","id":3}"#);
    server.stop().await;
}

/// Writes a new self-signed certificate, and returns it.
fn certify(files: &TlsFiles) -> rustls::pki_types::CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&files.cert, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

type TlsSocket = tokio_tungstenite::WebSocketStream<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>;

async fn connect_tls(
    address: SocketAddr,
    trusted: rustls::pki_types::CertificateDer<'static>,
) -> Result<TlsSocket, Box<dyn std::error::Error>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(address).await?;
    let name = rustls::pki_types::ServerName::try_from("localhost")?;
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let (socket, _) = tokio_tungstenite::client_async(format!("ws://{address}/ws"), stream).await?;
    Ok(socket)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_tells_everybody_and_closes_with_1012() {
    use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
    use tokio_tungstenite::tungstenite::{Error, Message};
    let (server, address) = start(options());
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}/ws")).await.unwrap();
    socket.send(Message::text(r#"{"type":"ping"}"#)).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap().to_text().unwrap(), r#"{"type":"pong"}"#);
    let drained = tokio::spawn(server.drain());
    let told: Value = serde_json::from_str(socket.next().await.unwrap().unwrap().to_text().unwrap()).unwrap();
    assert_eq!(told["type"], "drain");
    assert!(told["reconnectIn"].as_u64().is_some_and(|ms| ms > 0));
    match socket.next().await {
        Some(Ok(Message::Close(Some(close)))) => assert_eq!(close.code, CloseCode::Restart),
        other => panic!("expected close 1012, got {other:?}"),
    }
    while let Some(result) = socket.next().await {
        assert!(matches!(result, Err(Error::ConnectionClosed)), "{result:?}");
    }
    drained.await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "the listener is closed");
}

/// An application whose code has a defect.
struct Defective;

impl Application for Defective {
    fn event(
        &self,
        _: &Caller,
        _: Option<&ChannelName>,
        _: &str,
        _: &Payload,
    ) -> Option<Pending<Result<Decision, Refusal>>> {
        panic!("this panic is part of a test");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_outlives_a_panic() {
    use tokio_tungstenite::tungstenite::Message;
    let mut settings = options();
    settings.workers = 1;
    settings.application = Some(Arc::new(Defective));
    let (server, address) = start(settings);
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}/ws")).await.unwrap();
    socket.send(Message::text(r#"{"type":"event","event":"boom","payload":1}"#)).await.unwrap();
    let end = socket.next().await;
    assert!(!matches!(end, Some(Ok(_))), "the connection ends without a word, not with {end:?}");
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}/ws")).await.unwrap();
    converse(&mut socket, Message::text, |message| message.into_text().ok().map(|t| t.to_string())).await;
    server.stop().await;
}
