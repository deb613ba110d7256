//! `rediss://`, with certificates made for the test.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use starling_core::Engine;
use starling_redis::{RedisOptions, Tls};
use starling_testkit::{Broker, redis_server};

use crate::rig::{Bench, connect, options, run};

struct Secure {
    server: Broker,
    roots: Vec<u8>,
    client: (Vec<u8>, Vec<u8>),
}

fn start(clients: &str) -> Secure {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    // By default all have the same name, and OpenSSL takes one that is named as its issuer for self-signed.
    authority.distinguished_name.push(DnType::CommonName, "the authority of a test");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let signed = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        (certificate.pem().into_bytes(), key.serialize_pem().into_bytes())
    };
    let roots = authority.pem().into_bytes();
    let (certificate, key) = signed("127.0.0.1");
    let server = Broker::start("redis-server", |port, folder| {
        for (name, text) in [("ca.pem", &roots), ("cert.pem", &certificate), ("key.pem", &key)] {
            std::fs::write(folder.join(name), text).expect("a file in the folder");
        }
        let port = port.to_string();
        let all =
            ["--bind", "127.0.0.1", "--save", "", "--port", "0", "--tls-port", &port, "--tls-auth-clients", clients];
        let files = ["--tls-ca-cert-file", "ca.pem", "--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem"];
        all.into_iter().chain(files).map(str::to_owned).collect::<Vec<String>>()
    });
    Secure { server, roots, client: signed("client") }
}

impl Secure {
    fn options(&self) -> RedisOptions {
        options(format!("rediss://127.0.0.1:{}", self.server.port()))
    }
}

#[test]
fn a_certificate_of_a_trusted_root_is_trusted() {
    run(async {
        let secure = start("no");
        let mut options = secure.options();
        options.tls = Some(Tls { roots: Some(secure.roots.clone()), client: None });
        let bench = Bench::uninterested(connect(options).expect("it works"), "room");
        bench.want().await.expect("interest is taken");
        bench.publish("a").await;
        bench.sink.wait_for_messages("room", 1).await;
    });
}

#[test]
fn a_certificate_of_a_stranger_is_not_trusted() {
    run(async {
        let secure = start("no");
        let engine = connect(secure.options()).expect("tomorrow it may have another certificate");
        assert!(!engine.is_up());
    });
}

#[test]
fn a_client_shows_its_certificate() {
    run(async {
        let secure = start("yes");
        let mut options = secure.options();
        options.tls = Some(Tls { roots: Some(secure.roots.clone()), client: None });
        assert!(!connect(options.clone()).expect("may work later").is_up(), "without one it is not let in");
        options.tls = Some(Tls { roots: Some(secure.roots.clone()), client: Some(secure.client.clone()) });
        let bench = Bench::uninterested(connect(options).expect("it works"), "room");
        bench.publish("a").await;
    });
}

#[test]
fn a_server_that_is_not_redis_is_not_used() {
    run(async {
        // Plain text to a port that wants TLS, and TLS to one that does not.
        let plain = redis_server(&[]);
        let engine = connect(options(format!("rediss://127.0.0.1:{}", plain.port())));
        assert!(engine.is_err() || engine.is_ok_and(|engine| !engine.is_up()));
        let secure = start("no");
        let engine = connect(options(format!("redis://127.0.0.1:{}", secure.server.port())));
        assert!(engine.is_err() || engine.is_ok_and(|engine| !engine.is_up()));
    });
}
