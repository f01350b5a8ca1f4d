//! In one process: who is let in over TLS, what scrapers read, and what is left behind.

use crate::http::{ask, talk};
use control_daemon::config::{Tls, TlsClient};
use control_daemon::{Config, ControlPlane};
use domain::access::{Grant, Role};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::aws_lc_rs,
};

struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// Certificate and key of a name, PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

fn config(dir: &Path) -> Config {
    let mut config = Config::default();
    config.store.database = dir.join("control.db");
    config.store.backups = Some(dir.join("backups"));
    config.dataplane.socket = dir.join("no-dataplane");
    config.api.socket = dir.join("control.sock");
    config.metrics.listen = Some("127.0.0.1:0".parse().unwrap());
    config
}

fn client(
    roots: &str,
    identity: Option<(String, String)>,
    address: std::net::SocketAddr,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut store = RootCertStore::empty();
    store.add(CertificateDer::from_pem_slice(roots.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let name = "box.example".try_into().unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(connection, TcpStream::connect(address).unwrap())
}

#[test]
fn certificates_say_who_may_what_and_are_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (servers, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let (certificate, key) = servers.issue("box.example");
    let mut config = config(dir.path());
    let grant = Grant { role: Role::Auditor, tenant: None, vswitches: None, quota: None };
    config.api.tls = Some(Tls {
        listen: "127.0.0.1:0".parse().unwrap(),
        certificate: write("cert.pem", &certificate),
        key: write("key.pem", &key),
        client_ca: Some(write("clients.pem", &clients.certificate)),
        clients: vec![TlsClient { name: "looks.example".into(), grant }],
    });
    let plane = ControlPlane::start(&config).unwrap();
    let address = plane.tls_address().unwrap();
    let whoami = |roots: &str, identity| {
        let mut stream = client(roots, identity, address);
        talk(&mut stream, "GET", "/api/v1/whoami", ("text/plain", ""))
    };
    let (status, body) =
        whoami(&servers.certificate, Some(clients.issue("looks.example"))).unwrap();
    assert_eq!(status, 200, "{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["name"], "cert looks.example", "{body}");
    // A name that is not in the configuration, and no certificate: a token is needed.
    let other = whoami(&servers.certificate, Some(clients.issue("other.example"))).unwrap();
    assert_eq!(other.0, 401, "{}", other.1);
    assert_eq!(whoami(&servers.certificate, None).unwrap().0, 401);
    // The right name by the wrong authority.
    assert!(whoami(&servers.certificate, Some(strangers.issue("looks.example"))).is_err());

    let others = Authority::new();
    let (certificate, key) = others.issue("box.example");
    write("cert.pem", "no certificate");
    assert!(plane.reload().is_err());
    assert_eq!(whoami(&servers.certificate, None).unwrap().0, 401, "the one before stays");
    write("cert.pem", &certificate);
    write("key.pem", &key);
    plane.reload().unwrap();
    assert_eq!(whoami(&others.certificate, None).unwrap().0, 401);
    assert!(whoami(&servers.certificate, None).is_err(), "the old authority is not ours any more");
}

#[test]
fn scrapers_read_numbers_and_a_second_control_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let plane = ControlPlane::start(&config).unwrap();
    let mut stream = TcpStream::connect(plane.metrics_address().unwrap()).unwrap();
    let (status, text) = talk(&mut stream, "GET", "/metrics", ("text/plain", "")).unwrap();
    assert_eq!(status, 200);
    assert!(text.contains("switchyard_dataplane_up 0"), "{text}");
    let mut stream = TcpStream::connect(plane.metrics_address().unwrap()).unwrap();
    assert_eq!(talk(&mut stream, "GET", "/api/v1/config", ("text/plain", "")).unwrap().0, 404);

    let refused = ControlPlane::start(&config).unwrap_err().to_string();
    assert!(refused.contains("another control has the database"), "{refused}");

    let (status, body) =
        ask(&config.api.socket, "GET", "/api/v1/whoami", ("text/plain", "")).unwrap();
    assert_eq!(status, 200, "{body}");
    drop(plane);
    assert!(!config.api.socket.exists());
    // What was there is found again, and nothing holds it.
    drop(ControlPlane::start(&config).unwrap());
}
