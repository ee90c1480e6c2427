//! The page over HTTP, on loopback, to read alone: GET and HEAD of four paths, and events where something changed.
//!
//! A page elsewhere that a browser has open may point a name of its own at 127.0.0.1; what is asked for by such a name is
//! refused, so only this machine's own names lead here.

use super::page::{Page, SCRIPT, STYLE};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// Connections at once at most.
const CONNECTIONS: usize = 64;

/// A sign of life to readers of events, so that a connection that is gone is noticed.
const ALIVE: Duration = Duration::from_secs(15);

/// A request that is not whole after this long is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the page may do: nothing but show its own style, run its own script and read events from here.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What the server and whoever reads the store have in common.
pub(super) struct Shared {
    page: watch::Sender<Arc<Page>>,
    readers: AtomicUsize,
    wanted: AtomicBool,
}

impl Shared {
    pub(super) fn new(page: Page) -> Shared {
        Shared {
            page: watch::Sender::new(Arc::new(page)),
            readers: AtomicUsize::new(0),
            wanted: AtomicBool::new(false),
        }
    }

    /// Those who get events now.
    pub(super) fn readers(&self) -> usize {
        self.readers.load(Ordering::Relaxed)
    }

    /// Whether somebody has come who was shown what may be old.
    pub(super) fn wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    pub(super) fn publish(&self, page: Page) {
        self.wanted.store(false, Ordering::Relaxed);
        self.page.send_replace(Arc::new(page));
    }
}

/// Serves until `stop`; then whoever reads events is told the end.
pub(super) fn serve(listener: TcpListener, shared: &Arc<Shared>, stop: &'static AtomicBool) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let open = Arc::new(AtomicUsize::new(0));
        let (end, ended) = watch::channel(false);
        while !stop.load(Ordering::Relaxed) {
            let Ok(accepted) = timeout(Duration::from_millis(100), listener.accept()).await else { continue };
            // Out of file descriptors, or a peer that is gone already: neither ends the page.
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            if open.load(Ordering::Relaxed) >= CONNECTIONS {
                continue;
            }
            let held = Held::new(open.clone());
            let (shared, ended) = (shared.clone(), ended.clone());
            tokio::spawn(async move {
                let _held = held;
                let answer = service_fn(|request| {
                    let response = answer(&request, &shared, &ended);
                    async move { Ok::<_, Infallible>(response) }
                });
                let mut http = http1::Builder::new();
                http.timer(Timer).header_read_timeout(PATIENCE).max_buf_size(16 << 10);
                let _ = http.serve_connection(Io(stream), answer).await;
            });
        }
        let _ = end.send(true);
        for _ in 0..20 {
            if shared.readers() == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    });
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}

/// Counts as long as it lives.
struct Held(Arc<AtomicUsize>);

impl Held {
    fn new(count: Arc<AtomicUsize>) -> Held {
        count.fetch_add(1, Ordering::Relaxed);
        Held(count)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn answer(request: &Request<Incoming>, shared: &Arc<Shared>, ended: &watch::Receiver<bool>) -> Response<Content> {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(is_loopback) {
        return plain(StatusCode::MISDIRECTED_REQUEST, "This page is asked for by 127.0.0.1 or localhost.\n");
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "This page is only read.\n");
        refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let html = "text/html; charset=utf-8";
    match request.uri().path() {
        "/" => {
            shared.wanted.store(true, Ordering::Relaxed);
            let page = shared.page.borrow().clone();
            whole(StatusCode::OK, html, page.live())
        }
        "/style.css" => whole(StatusCode::OK, "text/css; charset=utf-8", STYLE),
        "/watch.js" => whole(StatusCode::OK, "text/javascript; charset=utf-8", SCRIPT),
        "/events" if request.method() == Method::HEAD => whole(StatusCode::OK, "text/event-stream", ""),
        "/events" => {
            let (to, events) = mpsc::channel(1);
            tokio::spawn(feed(shared.clone(), ended.clone(), to));
            response(StatusCode::OK, "text/event-stream", Content::Events(events))
        }
        _ => plain(StatusCode::NOT_FOUND, "There is nothing here; / is the page.\n"),
    }
}

/// Whether a Host header names this machine to itself, whatever the port (a tunnel may lead here from another one).
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name.to_ascii_lowercase().as_str(), "127.0.0.1" | "localhost" | "[::1]")
}

fn plain(status: StatusCode, text: &'static str) -> Response<Content> {
    whole(status, "text/plain; charset=utf-8", text)
}

fn whole(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Content> {
    response(status, kind, Content::Whole(Some(text.into())))
}

fn response(status: StatusCode, kind: &'static str, content: Content) -> Response<Content> {
    let mut response = Response::new(content);
    *response.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Sends the parts of the page that are other than what was sent before, as long as somebody reads.
async fn feed(shared: Arc<Shared>, mut ended: watch::Receiver<bool>, to: mpsc::Sender<Bytes>) {
    let reader = ReaderOf::new(shared.clone());
    let mut pages = shared.page.subscribe();
    let mut sent: BTreeMap<String, Arc<str>> = BTreeMap::new();
    shared.wanted.store(true, Ordering::Relaxed);
    loop {
        let page = pages.borrow_and_update().clone();
        let mut changed: serde_json::Map<String, serde_json::Value> = page
            .parts
            .iter()
            .filter(|(name, html)| sent.get(name) != Some(html))
            .map(|(name, html)| (name.clone(), (**html).into()))
            .collect();
        // What is no longer there is emptied.
        let gone = sent.keys().filter(|name| !page.parts.iter().any(|(known, _)| known == *name));
        changed.extend(gone.map(|name| (name.clone(), "".into())));
        if !changed.is_empty() {
            let event = format!("event: parts\ndata: {}\n\n", serde_json::Value::Object(changed));
            if to.send(event.into()).await.is_err() {
                break;
            }
            sent = page.parts.iter().cloned().collect();
        }
        let mut quiet = 0;
        let more = loop {
            if *ended.borrow_and_update() {
                let _ = timeout(PATIENCE, to.send(Bytes::from_static(b"event: end\ndata: end\n\n"))).await;
                break false;
            }
            match timeout(Duration::from_millis(200), pages.changed()).await {
                Ok(Ok(())) => break true,
                Ok(Err(_)) => break false,
                Err(_) if to.is_closed() => break false,
                Err(_) => quiet += 1,
            }
            if quiet * 200 >= ALIVE.as_millis() as u64 {
                quiet = 0;
                if to.send(Bytes::from_static(b": still here\n\n")).await.is_err() {
                    break false;
                }
            }
        };
        if !more {
            break;
        }
    }
    drop(reader);
}

/// Somebody who reads events.
struct ReaderOf(Arc<Shared>);

impl ReaderOf {
    fn new(shared: Arc<Shared>) -> ReaderOf {
        shared.readers.fetch_add(1, Ordering::Relaxed);
        ReaderOf(shared)
    }
}

impl Drop for ReaderOf {
    fn drop(&mut self) {
        self.0.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is sent: a text, or events as they come.
enum Content {
    Whole(Option<Bytes>),
    Events(mpsc::Receiver<Bytes>),
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut *self {
            Content::Whole(text) => text.take(),
            Content::Events(events) => ready!(events.poll_recv(cx)),
        };
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Content::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Content::Whole(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Content::Events(_) => SizeHint::default(),
        }
    }
}

/// A connection as hyper reads and writes it.
struct Io(TcpStream);

impl hyper::rt::Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut to: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let mut chunk = [0u8; 4096];
        let room = to.remaining().min(chunk.len());
        let mut read = ReadBuf::new(&mut chunk[..room]);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut read))?;
        to.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// tokio's time, for hyper.
#[derive(Clone, Copy)]
struct Timer;

/// A wait of hyper's.
struct Sleep(Pin<Box<tokio::time::Sleep>>);

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl hyper::rt::Sleep for Sleep {}

impl hyper::rt::Timer for Timer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Sleep(Box::pin(tokio::time::sleep(duration))))
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Sleep(Box::pin(tokio::time::sleep_until(deadline.into()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machines_own_names_lead_here() {
        for host in ["127.0.0.1", "127.0.0.1:8424", "localhost:1", "LOCALHOST", "[::1]:8424", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8424",
            "127.0.0.1.evil.example",
            "localhost.evil.example:80",
            "127.0.0.2",
            "10.0.0.1:8424",
            "127.0.0.1:x",
            "localhost:",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
