//! Accepts connections and keeps their limits: time for headers, their size and number, time for
//! small bodies and to take an answer, sockets of one address, TLS.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use futures_util::StreamExt;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use super::guard::{Guard, Place};
use super::reply::Problem;

/// The headers of a request, or a TLS handshake, must be complete within this time.
const HEADERS: Duration = Duration::from_secs(10);
/// The most bytes of the headers of a request.
const HEADER_BYTES: usize = 16 << 10;
/// The most headers of a request.
const MOST_HEADERS: usize = 100;
/// A body that is one small message must be complete within this time.
const SMALL_BODY: Duration = Duration::from_secs(10);
/// The most bytes of such a body.
const SMALL_BODY_BYTES: usize = 64 << 10;
/// A client that takes no byte of what is sent to it for this long loses its connection.
const STUCK: Duration = Duration::from_secs(60);
/// How long to wait where the system gives no more sockets.
const EXHAUSTED: Duration = Duration::from_millis(200);

/// The address of the client of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub IpAddr);

/// Accepts connections until `stop`.
pub(super) async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    routes: Router,
    guard: Arc<Guard>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // The connection may be gone already, or there are too many open files.
                tracing::debug!("a connection was not accepted: {error}");
                tokio::time::sleep(EXHAUSTED).await;
                continue;
            }
        };
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        // A client with too many sockets is closed without an answer, which would cost more than
        // the check.
        let Some(place) = guard.socket(address.ip()) else { continue };
        let (tls, routes, stop) = (tls.clone(), routes.clone(), stop.clone());
        let stream = Counted { stream, _place: place };
        tasks.spawn(async move { connection(stream, address.ip(), tls, routes, stop).await });
    }
}

/// A socket with its place among those of its address. An upgrade hands this stream on, so the
/// place of a WebSocket is freed when the WebSocket closes.
struct Counted {
    stream: TcpStream,
    _place: Place,
}

impl Counted {
    fn pinned(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(&mut self.stream)
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.pinned().poll_read(cx, into)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.pinned().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.pinned().poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned().poll_shutdown(cx)
    }
}

async fn connection(
    counted: Counted,
    address: IpAddr,
    tls: Option<TlsAcceptor>,
    routes: Router,
    stop: CancellationToken,
) {
    // Captions are small messages that should not wait for each other.
    let _ = counted.stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(counted);
    stream.set_write_timeout(Some(STUCK));
    let stream = Box::pin(stream);
    match tls {
        None => serve(stream, address, routes, stop).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = timeout(HEADERS, tls.accept(stream)).await {
                serve(stream, address, routes, stop).await;
            }
        }
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: IpAddr,
    routes: Router,
    stop: CancellationToken,
) {
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(address));
        let mut routes = routes.clone();
        async move { routes.call(request).await }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(HEADER_BYTES).max_headers(MOST_HEADERS);
    let connection = server.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        outcome = connection.as_mut() => log(outcome),
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            log(connection.await);
        }
    }
}

fn log(outcome: Result<(), hyper::Error>) {
    if let Err(error) = outcome {
        tracing::debug!("a connection ended: {error}");
    }
}

/// Reads a body that is one small message.
pub(super) async fn small_body(body: Body) -> Result<Vec<u8>, Problem> {
    let late = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive within 10 s");
    timeout(SMALL_BODY, whole(body)).await.map_err(late)?
}

async fn whole(body: Body) -> Result<Vec<u8>, Problem> {
    let (mut body, mut all) = (body.into_data_stream(), Vec::new());
    while let Some(bytes) = body.next().await {
        let bytes = bytes.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body was cut off"))?;
        if all.len() + bytes.len() > SMALL_BODY_BYTES {
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 64 KiB"));
        }
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::extract::ws::WebSocketUpgrade;
    use axum::routing::any;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    /// A WebSocket, or `None` where the server closes the connection without an answer.
    async fn open(address: SocketAddr) -> Option<TcpStream> {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut status = [0; 12];
        // A connection that is closed may be closed before this is sent.
        let _ = stream.write_all(UPGRADE).await;
        stream.read_exact(&mut status).await.ok()?;
        assert_eq!(&status, b"HTTP/1.1 101");
        Some(stream)
    }

    /// A WebSocket has its place until it is closed, and then another may come.
    #[tokio::test]
    async fn websockets_are_counted_until_they_close() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let guard = Arc::new(Guard::new(None, None, Vec::new(), Vec::new(), 2).unwrap());
        let upgrade = |upgrade: WebSocketUpgrade| async move {
            upgrade.on_upgrade(|mut socket| async move { while let Some(Ok(_)) = socket.recv().await {} })
        };
        let routes = Router::new().fallback(any(upgrade));
        tokio::spawn(accept(listener, None, routes, guard, CancellationToken::new(), TaskTracker::new()));
        let first = open(address).await.expect("there is room for one");
        let _second = open(address).await.expect("there is room for two");
        assert!(open(address).await.is_none(), "there is no room for three");
        drop(first);
        let room = async {
            while open(address).await.is_none() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(10), room).await.expect("a place is free again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_body_is_bounded_in_time_and_size() {
        let of = |bytes: Vec<u8>| futures_util::stream::iter([Ok::<_, Infallible>(bytes)]);
        let read = small_body(Body::from_stream(of(vec![7; SMALL_BODY_BYTES]))).await;
        assert_eq!(read.unwrap().len(), SMALL_BODY_BYTES);
        let long = small_body(Body::from_stream(of(vec![7; SMALL_BODY_BYTES + 1]))).await;
        assert_eq!(long.unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
        let endless = of(b"{".to_vec()).chain(futures_util::stream::pending());
        let late = timeout(SMALL_BODY * 2, small_body(Body::from_stream(endless))).await;
        assert_eq!(late.expect("it ends").unwrap_err().status, StatusCode::REQUEST_TIMEOUT);
    }
}
