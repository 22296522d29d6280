//! What the sample server answers.

use std::convert::Infallible;
use std::time::Duration;

use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, EXPECT, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use segue_app::Drain;
use tokio::time::sleep;

use crate::body::{Answer, Echo, Events, Streamed};

/// The header that tells which process answered.
const PID: HeaderName = HeaderName::from_static("x-segue-pid");
/// The header that tells which generation answered; absent without Segue.
const GENERATION: HeaderName = HeaderName::from_static("x-segue-generation");

/// The longest pause that a client may ask for. A sample should not be a way to hold a connection for ever.
const MAX_PAUSE: Duration = Duration::from_secs(600);
/// The longest body that a client may ask for, in bytes.
const MAX_BYTES: u64 = 1 << 34;
/// How much /bytes gives if it is not asked for a number, in bytes.
const DEFAULT_BYTES: u64 = 1024;
/// The interval of /events if it is not asked for another.
const EVENT_INTERVAL: Duration = Duration::from_secs(1);

/// Everything that the answers are made of.
pub(crate) struct Site {
    ping: Bytes,
    pid: HeaderValue,
    generation: Option<HeaderValue>,
    generation_text: String,
    drain: Drain,
}

impl Site {
    pub(crate) fn new(message: &str, generation: Option<u64>, drain: Drain) -> Site {
        Site {
            ping: format!("{{\"message\": {}}}", serde_json::Value::from(message)).into(),
            pid: HeaderValue::from(std::process::id()),
            generation: generation.map(HeaderValue::from),
            generation_text: generation
                .map_or_else(|| "null".to_owned(), |generation| generation.to_string()),
            drain,
        }
    }

    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
        let mut response = self.route(request).await;
        let headers = response.headers_mut();
        headers.insert(PID, self.pid.clone());
        if let Some(generation) = &self.generation {
            headers.insert(GENERATION, generation.clone());
        }
        Ok(response)
    }

    async fn route(&self, request: Request<Incoming>) -> Response<Answer> {
        let reads = request.method() == Method::GET || request.method() == Method::HEAD;
        match request.uri().path() {
            "/echo" if request.method() == Method::POST => echo(request).await,
            "/echo" => refuse_method("POST"),
            "/ping" | "/slow" | "/bytes" | "/events" | "/healthz" if !reads => refuse_method("GET, HEAD"),
            "/ping" => reply(
                StatusCode::OK,
                "application/json",
                Answer::whole(self.ping.clone()),
            ),
            "/slow" => self.slow(&request).await,
            "/bytes" => bytes(&request),
            "/events" => self.events(&request),
            "/healthz" => self.health(),
            _ => text(StatusCode::NOT_FOUND, "no such page: try /ping\n"),
        }
    }

    async fn slow(&self, request: &Request<Incoming>) -> Response<Answer> {
        match number(request, "ms", 0) {
            Ok(ms) => {
                sleep(Duration::from_millis(ms).min(MAX_PAUSE)).await;
                reply(
                    StatusCode::OK,
                    "application/json",
                    Answer::whole(self.ping.clone()),
                )
            }
            Err(error) => text(StatusCode::BAD_REQUEST, error),
        }
    }

    fn events(&self, request: &Request<Incoming>) -> Response<Answer> {
        let every = match number(request, "ms", EVENT_INTERVAL.as_millis() as u64) {
            Ok(ms) => Duration::from_millis(ms.max(1)).min(MAX_PAUSE),
            Err(error) => return text(StatusCode::BAD_REQUEST, error),
        };
        let events = Events::new(self.generation_text.clone(), every, self.drain.clone());
        let mut response = reply(StatusCode::OK, "text/event-stream", Answer::Events(events));
        response
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    fn health(&self) -> Response<Answer> {
        match self.drain.is_draining() {
            true => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            false => text(StatusCode::OK, "ok\n"),
        }
    }
}

async fn echo(request: Request<Incoming>) -> Response<Answer> {
    let kind = request.headers().get(CONTENT_TYPE).cloned();
    let waits = request.headers().contains_key(EXPECT);
    let mut body = Echo::new(request.into_body());
    if waits {
        body.begin().await;
    }
    let mut response = Response::new(Answer::Echo(body));
    let kind = kind.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn bytes(request: &Request<Incoming>) -> Response<Answer> {
    let asked =
        number(request, "n", DEFAULT_BYTES).and_then(|length| Ok((length, number(request, "ms", 0)?)));
    match asked {
        Ok((length, _)) if length > MAX_BYTES => text(StatusCode::BAD_REQUEST, "n is too large\n"),
        Ok((length, pause)) => {
            let pause = Duration::from_millis(pause).min(MAX_PAUSE);
            reply(
                StatusCode::OK,
                "text/plain",
                Answer::Streamed(Streamed::new(length, pause)),
            )
        }
        Err(error) => text(StatusCode::BAD_REQUEST, error),
    }
}

/// A number in the query, or what is wrong with it.
fn number(request: &Request<Incoming>, name: &str, default: u64) -> Result<u64, String> {
    let query = request.uri().query().unwrap_or_default();
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    match value.map(str::parse) {
        None => Ok(default),
        Some(Ok(number)) => Ok(number),
        Some(Err(_)) => Err(format!("{name} must be a number\n")),
    }
}

fn refuse_method(allowed: &'static str) -> Response<Answer> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "another method is needed here\n");
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Answer> {
    reply(status, "text/plain", Answer::whole(text))
}

fn reply(status: StatusCode, kind: &'static str, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
