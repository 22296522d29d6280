//! What the example servers share. Each of them is a program of its own, in `src/bin`.

use std::net::TcpListener;

use segue_app::{Environment, Notifier};

/// The listener that was handed over, and where to say READY=1: for the programs that do the rest by themselves.
///
/// # Errors
/// One line: nothing was handed over, or it is no listener.
pub fn inherited() -> Result<(TcpListener, Notifier), Box<dyn std::error::Error>> {
    let mut environment = Environment::take()?;
    let notifier = Notifier::new(environment.notify_socket());
    let name = environment
        .sockets()
        .first()
        .map(|socket| socket.name().to_owned());
    let socket = name.and_then(|name| environment.take_named(&name));
    let socket = socket.ok_or("no listener was handed over")?;
    let listener = TcpListener::from(socket.into_fd());
    listener.set_nonblocking(true)?;
    Ok((listener, notifier))
}

/// TLS settings of these two files, with HTTP/2 and HTTP/1.1.
///
/// # Errors
/// A file cannot be read, or key and certificate do not fit.
pub fn tls(certificates: &str, key: &str) -> Result<rustls::ServerConfig, Box<dyn std::error::Error>> {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    let certificates = CertificateDer::pem_file_iter(certificates)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The examples of the library's README compile.
#[cfg(doctest)]
#[doc = include_str!("../../../app/README.md")]
struct Readme;
