//! One question at a time, on a new connection or on the same one.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;

use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use segue_app::errno_text;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, UnixStream, lookup_host};
use tokio::task::JoinHandle;

use crate::source::Source;

/// Most of an answer that is read, in bytes.
const MAX_BODY: usize = 1024 * 1024;

/// The header by which the servers of Segue say who they are.
const GENERATION: HeaderName = HeaderName::from_static("x-segue-generation");

/// An answer that came.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) generation: Option<String>,
    /// Which of several servers it came from, where the target has a header that says so.
    pub(crate) server: Option<String>,
}

/// An answer, or why there is none, in one line.
pub(crate) type Outcome = Result<Answer, String>;

/// Whom to ask, and what.
#[derive(Debug)]
pub(crate) struct Target {
    route: Route,
    authority: HeaderValue,
    path: Uri,
    /// The header by which a balancer names the server that answered.
    server: Option<HeaderName>,
}

#[derive(Debug)]
enum Route {
    Unix(PathBuf),
    /// The addresses are looked up once, and again after a failure; the one that answered comes first.
    Tcp {
        host: String,
        port: u16,
        known: RefCell<Vec<SocketAddr>>,
        /// From where to connect, if it is not left to the kernel.
        source: Option<Source>,
    },
}

/// How the server is reached.
#[derive(Debug)]
pub(crate) enum Way {
    /// At host and port of the URL, perhaps from an address of this machine.
    OfUrl(Option<Source>),
    /// At this address, from one of this machine; of the URL only the path counts, and the host in the header.
    Address(SocketAddr, Source),
    /// At a Unix socket.
    Unix(PathBuf),
}

impl Target {
    pub(crate) fn new(url: &str, way: Way, server: Option<HeaderName>) -> Result<Target, String> {
        let wrong = |why: &str| format!("read the URL '{}': {why}", url.escape_debug());
        let whole = if url.contains("://") {
            url.to_owned()
        } else {
            format!("http://{url}")
        };
        let uri: Uri = whole
            .parse()
            .map_err(|_| wrong("it must look like http://localhost:1234/ping"))?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong("segue-poll speaks http:// only, no TLS"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let route = match way {
            Way::Unix(path) => Route::Unix(path),
            Way::Address(address, source) => Route::Tcp {
                host: address.ip().to_string(),
                port: address.port(),
                known: RefCell::new(vec![address]),
                source: Some(source),
            },
            Way::OfUrl(source) => Route::Tcp {
                host: authority.host().trim_matches(['[', ']']).to_owned(),
                port: authority.port_u16().unwrap_or(80),
                known: RefCell::new(Vec::new()),
                source,
            },
        };
        Ok(Target {
            route,
            authority: authority
                .as_str()
                .parse()
                .map_err(|_| wrong("it names no host"))?,
            path: path.parse().map_err(|_| wrong("its path is not valid"))?,
            server,
        })
    }

    async fn connect(&self) -> Result<Stream, String> {
        match &self.route {
            Route::Unix(path) => connect_unix(path).await.map_err(|error| errno_text(&error)),
            Route::Tcp {
                host,
                port,
                known,
                source,
            } => {
                if known.borrow().is_empty() {
                    let found = lookup_host((host.as_str(), *port)).await;
                    let found = found.map_err(|error| format!("look up {host}: {}", errno_text(&error)))?;
                    let suits = |to: &SocketAddr| source.as_ref().is_none_or(|source| source.suits(*to));
                    *known.borrow_mut() = found.filter(suits).collect();
                }
                let addresses = known.borrow().clone();
                let mut failure = match source {
                    Some(source) => format!("{host} has no address of the family of {source}"),
                    None => format!("{host} has no address"),
                };
                for (place, address) in addresses.into_iter().enumerate() {
                    match connect_tcp(address, source.as_ref()).await {
                        Ok(stream) => {
                            let mut known = known.borrow_mut();
                            if place < known.len() {
                                known.swap(0, place);
                            }
                            return Ok(Box::new(stream));
                        }
                        Err(error) => failure = errno_text(&error),
                    }
                }
                known.borrow_mut().clear();
                Err(failure)
            }
        }
    }
}

trait Both: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Both for T {}
type Stream = Box<dyn Both>;

async fn connect_tcp(address: SocketAddr, source: Option<&Source>) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(source) = source {
        source.bind(&socket)?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn connect_unix(path: &std::path::Path) -> io::Result<Stream> {
    #[cfg(target_os = "linux")]
    if let Some(name) = path.as_os_str().as_encoded_bytes().strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        let stream = std::os::unix::net::UnixStream::connect_addr(&address)?;
        stream.set_nonblocking(true)?;
        return Ok(Box::new(UnixStream::from_std(stream)?));
    }
    Ok(Box::new(UnixStream::connect(path).await?))
}

/// Asks, and keeps the connection if it is told to.
pub(crate) struct Client {
    target: Rc<Target>,
    keep_alive: bool,
    open: Option<Open>,
}

struct Open {
    sender: SendRequest<String>,
    driver: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Client {
    pub(crate) fn new(target: Rc<Target>, keep_alive: bool) -> Client {
        Client {
            target,
            keep_alive,
            open: None,
        }
    }

    /// Gives up the present connection.
    pub(crate) fn forget(&mut self) {
        self.open = None;
    }

    pub(crate) async fn ask(&mut self) -> Outcome {
        // A server may close an idle connection; that is no failure as long as nothing was asked on it.
        let kept = match self.open.take() {
            Some(mut open) => open.sender.ready().await.is_ok().then_some(open),
            None => None,
        };
        let mut open = match kept {
            Some(open) => open,
            None => self.connect().await?,
        };
        let response = open
            .sender
            .send_request(self.request())
            .await
            .map_err(|error| reason(&error))?;
        let answer = read(response, self.target.server.as_ref()).await?;
        if self.keep_alive {
            self.open = Some(open);
        }
        Ok(answer)
    }

    async fn connect(&self) -> Result<Open, String> {
        let stream = TokioIo::new(self.target.connect().await?);
        let (sender, connection) = http1::handshake(stream).await.map_err(|error| reason(&error))?;
        // What goes wrong on the connection is told to the sender.
        let driver = tokio::task::spawn_local(async move { drop(connection.await) });
        Ok(Open { sender, driver })
    }

    fn request(&self) -> Request<String> {
        let mut request = Request::new(String::new());
        *request.uri_mut() = self.target.path.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, self.target.authority.clone());
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("segue-poll/", env!("CARGO_PKG_VERSION"))),
        );
        if !self.keep_alive {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        request
    }
}

async fn read(response: Response<Incoming>, server: Option<&HeaderName>) -> Outcome {
    let status = response.status();
    let header = |name: &HeaderName| response.headers().get(name)?.to_str().ok().map(str::to_owned);
    let generation = header(&GENERATION);
    let server = server.and_then(header);
    let body = collect(response.into_body()).await?;
    let body = String::from_utf8_lossy(&body).trim_end().to_owned();
    match status.is_success() {
        true => Ok(Answer {
            status: status.as_u16(),
            body,
            generation,
            server,
        }),
        false => Err(format!("status {status}")),
    }
}

async fn collect(mut body: Incoming) -> Result<Vec<u8>, String> {
    let mut whole = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|error| reason(&error))?;
        let data: Bytes = frame.into_data().unwrap_or_default();
        if whole.len() + data.len() > MAX_BODY {
            return Err(format!("the answer is longer than {MAX_BODY} bytes"));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole)
}

/// The innermost cause, which says most: "connection reset by peer" rather than "connection error".
fn reason(error: &hyper::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match cause.downcast_ref::<io::Error>() {
        Some(error) => errno_text(error),
        None => cause.to_string(),
    }
}
