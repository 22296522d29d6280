//! Whose connection it is.

use std::net::SocketAddr;

/// The other end of a connection. Every request carries it among its extensions.
///
/// ```
/// use hyper::{Request, Response, body::Incoming};
/// use segue_app::Peer;
///
/// async fn whoami(request: Request<Incoming>) -> Result<Response<String>, std::convert::Infallible> {
///     let peer = request.extensions().get::<Peer>().and_then(Peer::address);
///     Ok(Response::new(match peer {
///         Some(address) => format!("you are {address}\n"),
///         None => "you came by the Unix socket\n".to_owned(),
///     }))
/// }
/// ```
///
/// With the feature `axum` a handler gets the address as it does under `axum::serve`, by
/// `ConnectInfo<SocketAddr>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    pub(crate) address: Option<SocketAddr>,
    pub(crate) encrypted: bool,
}

impl Peer {
    /// The address of the client, or of the proxy in front of it; `None` on a Unix socket, whose clients have none.
    ///
    /// A listener for both IPv4 and IPv6 shows IPv4 clients as `::ffff:192.0.2.7`:
    /// [`to_canonical`](std::net::IpAddr::to_canonical) makes that 192.0.2.7.
    ///
    /// ```
    /// # fn handler(peer: segue_app::Peer) {
    /// let host = peer.address().map(|address| address.ip().to_canonical());
    /// # }
    /// ```
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Whether the connection is encrypted by this server (feature `tls`).
    ///
    /// ```
    /// # fn handler(peer: segue_app::Peer) {
    /// let scheme = if peer.is_encrypted() { "https" } else { "http" };
    /// # }
    /// ```
    pub fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// Puts it among the extensions of a request.
    pub(crate) fn note<B>(&self, request: &mut hyper::Request<B>) {
        request.extensions_mut().insert(*self);
        #[cfg(feature = "axum")]
        if let Some(address) = self.address {
            request
                .extensions_mut()
                .insert(axum::extract::ConnectInfo(address));
        }
    }
}
