//! How the scraper speaks TLS: whom it trusts, and with which certificate it comes.
//!
//! Guarantees: without a word in the configuration, the machine's own authorities are trusted and the name of the
//! host is checked. Certificates are read when the job starts.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use serde::Deserialize;

use super::fetch::{HttpClient, SendClient};

/// `tls_config`, in Prometheus's field names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Authorities that are trusted instead of the machine's own, in PEM.
    pub ca_file: Option<PathBuf>,
    /// The certificate that is shown, in PEM.
    pub cert_file: Option<PathBuf>,
    /// Its key, in PEM.
    pub key_file: Option<PathBuf>,
    /// The name that the server's certificate has to bear, where it is not the host's.
    pub server_name: Option<String>,
    /// Trust whoever answers.
    pub insecure_skip_verify: bool,
}

/// Why a job cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file without what it should hold.
    #[error("{} is no PEM file of {of}: {error}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What it should hold.
        of: &'static str,
        /// Why not.
        error: String,
    },
    /// Half a pair.
    #[error("`cert_file` and `key_file` go together: give both or none")]
    HalfAPair,
    /// A name that is none.
    #[error("server_name `{0}` is no name of a host")]
    ServerName(String),
    /// What rustls says.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

impl Tls {
    /// Relative paths begin at `folder` from now on.
    pub fn begin_at(&mut self, folder: &Path) {
        let files = [&mut self.ca_file, &mut self.cert_file, &mut self.key_file];
        for path in files.into_iter().flatten() {
            *path = folder.join(&path);
        }
    }

    /// A client that speaks HTTP, and HTTPS in this way.
    pub(crate) fn client(&self) -> Result<HttpClient, TlsError> {
        Ok(Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(1)
            .build(self.connector()?))
    }

    /// The same for requests with bodies, several at once.
    pub(super) fn sender(&self) -> Result<SendClient, TlsError> {
        Ok(Client::builder(TokioExecutor::new()).build(self.connector()?))
    }

    fn connector(&self) -> Result<HttpsConnector<HttpConnector>, TlsError> {
        let builder = HttpsConnectorBuilder::new()
            .with_tls_config(self.config()?)
            .https_or_http();
        let builder = match &self.server_name {
            None => builder,
            Some(name) => {
                let known = ServerName::try_from(name.clone());
                let known = known.map_err(|_| TlsError::ServerName(name.clone()))?;
                builder.with_server_name_resolver(FixedServerNameResolver::new(known))
            }
        };
        Ok(builder.enable_http1().build())
    }

    fn config(&self) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = if self.insecure_skip_verify {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Trusting(provider)))
        } else {
            builder.with_root_certificates(self.roots()?)
        };
        match (&self.cert_file, &self.key_file) {
            (None, None) => Ok(builder.with_no_client_auth()),
            (Some(cert), Some(key)) => {
                let chain = certificates(cert)?;
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| unreadable(key, "a private key", error))?;
                Ok(builder.with_client_auth_cert(chain, key)?)
            }
            (Some(_), None) | (None, Some(_)) => Err(TlsError::HalfAPair),
        }
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        if let Some(file) = &self.ca_file {
            for certificate in certificates(file)? {
                roots.add(certificate)?;
            }
            return Ok(roots);
        }
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            // Not an error: most targets speak plain HTTP, and one of HTTPS will say whom it does not trust.
            let why = found.errors.first().map(ToString::to_string);
            let why = why.unwrap_or_else(|| "there are none".to_owned());
            tracing::warn!(
                why,
                "no certificate authorities on this machine: HTTPS needs a `ca_file`"
            );
        }
        Ok(roots)
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |error| unreadable(file, "certificates", error);
    let found = CertificateDer::pem_file_iter(file).map_err(wrong)?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(wrong)?;
    if found.is_empty() {
        return Err(TlsError::File {
            file: file.to_owned(),
            of: "certificates",
            error: "it holds none".to_owned(),
        });
    }
    Ok(found)
}

fn unreadable(file: &Path, of: &'static str, error: rustls::pki_types::pem::Error) -> TlsError {
    TlsError::File {
        file: file.to_owned(),
        of,
        error: error.to_string(),
    }
}

/// Whoever answers is believed to be who was asked; what is signed still has to be signed by them.
#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
