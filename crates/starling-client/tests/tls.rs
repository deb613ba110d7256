//! The client over TLS: which certificates it takes.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use starling_client::{Client, ConnectError, Error, Status};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

/// A server with a certificate for `localhost`, its port, and the certificate as PEM.
async fn start() -> (u16, String) {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(acceptor.clone(), stream));
        }
    });
    (port, certified.cert.pem())
}

/// Agrees to one connection, if the client likes the certificate.
async fn serve(acceptor: TlsAcceptor, stream: TcpStream) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    #[expect(clippy::result_large_err, reason = "tungstenite's own signature")]
    let callback = |_: &Request, mut response: Response| {
        response.headers_mut().insert("sec-websocket-protocol", "starling.v1.json".parse().unwrap());
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, callback).await.unwrap();
    socket.next().await.unwrap().unwrap();
    let answer = r#"{"type":"auth_ack","userId":null,"connectionId":"over-tls"}"#;
    socket.send(Message::text(answer)).await.unwrap();
    while socket.next().await.is_some_and(|frame| frame.is_ok()) {}
}

#[tokio::test]
async fn only_trusted_certificates_are_taken() {
    let (port, pem) = start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, pem).unwrap();

    let client = Client::builder(format!("wss://localhost:{port}")).ca_file(&file).connect().await.unwrap();
    let status = client.status().borrow().clone();
    assert!(matches!(status, Status::Connected { connection_id, user_id: None, .. } if connection_id == "over-tls"));

    // The right certificate for another name.
    let error = Client::builder(format!("wss://127.0.0.1:{port}")).ca_file(&file).connect().await.unwrap_err();
    assert!(matches!(error, Error::Connect(ConnectError::Io { .. })), "{error:?}");
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn a_file_without_certificates_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    for content in [None, Some("no certificate")] {
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let error = Client::builder("wss://localhost:1").ca_file(&file).connect().await.unwrap_err();
        assert!(matches!(error, Error::Certificates(_)), "{error:?}");
    }
}
