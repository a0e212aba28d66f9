//! Accepts connections and keeps their limits: time for headers, their size and number, time to take
//! an answer, sockets of one address, TLS.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use super::guard::{Guard, Place};

/// The headers of a request, or a TLS handshake, must be complete within this time.
const HEADERS: Duration = Duration::from_secs(10);
/// The most bytes of the headers of a request.
const HEADER_BYTES: usize = 16 << 10;
/// The most headers of a request.
const MOST_HEADERS: usize = 100;
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
        // A client with too many sockets is not answered: an answer would cost more than it.
        let Some(place) = guard.socket(address.ip()) else { continue };
        let (tls, routes, stop) = (tls.clone(), routes.clone(), stop.clone());
        tasks.spawn(async move { connection(stream, address.ip(), tls, routes, place, stop).await });
    }
}

async fn connection(
    stream: TcpStream,
    address: IpAddr,
    tls: Option<TlsAcceptor>,
    routes: Router,
    place: Place,
    stop: CancellationToken,
) {
    // Captions are small messages that should not wait for each other.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(STUCK));
    let stream = Box::pin(stream);
    match tls {
        None => serve(stream, address, routes, place, stop).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = timeout(HEADERS, tls.accept(stream)).await {
                serve(stream, address, routes, place, stop).await;
            }
        }
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: IpAddr,
    routes: Router,
    place: Place,
    stop: CancellationToken,
) {
    // The place is freed when the last user of the socket is gone, also after an upgrade.
    let place = Arc::new(place);
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(Peer(address));
        request.extensions_mut().insert(place.clone());
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
