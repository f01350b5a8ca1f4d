//! Keys of the box, and what certificates say of clients.

use crate::config;
use anyhow::{Context, bail};
use control_api::Client;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// Certificate and key as they were last read.
pub(crate) struct Keys {
    settings: config::Tls,
    acceptor: RwLock<TlsAcceptor>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Keys {
    /// Reads them.
    pub(crate) fn open(settings: config::Tls) -> anyhow::Result<Self> {
        let acceptor = RwLock::new(read(&settings)?);
        Ok(Self { settings, acceptor })
    }

    /// Reads them again, for connections to come; those that are there are left.
    ///
    /// # Errors
    /// What is wrong with them; the ones before stay.
    pub(crate) fn reload(&self) -> anyhow::Result<()> {
        let acceptor = read(&self.settings)?;
        *self.acceptor.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who a client is by the certificate that it showed, and that was verified.
    pub(crate) fn client(&self, shown: &[CertificateDer<'_>]) -> Option<Client> {
        let certificate = webpki::EndEntityCert::try_from(shown.first()?).ok()?;
        let names: Vec<_> = certificate.valid_dns_names().collect();
        let known = self.settings.clients.iter().find(|known| names.contains(&known.name.as_str()));
        let subject = match known {
            Some(known) => known.name.clone(),
            None => (*names.first()?).to_owned(),
        };
        Some(Client { subject, grant: known.map(|known| known.grant.clone()) })
    }
}

fn read(settings: &config::Tls) -> anyhow::Result<TlsAcceptor> {
    let config::Tls { certificate, key, client_ca, .. } = settings;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = certificates(certificate)?;
    let key = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("the private key in {}", key.display()))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .context("TLS")?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).with_context(|| path.display().to_string())?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                .allow_unauthenticated()
                .build()
                .with_context(|| path.display().to_string())?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut server = builder
        .with_single_cert(chain, key)
        .with_context(|| format!("the certificate in {} and its key", certificate.display()))?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(server)))
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("certificates in {}", path.display()))?;
    if found.is_empty() {
        bail!("{}: there is no certificate in it", path.display());
    }
    Ok(found)
}
