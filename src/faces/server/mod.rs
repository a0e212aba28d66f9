//! `alignatt serve`: the engine for a room, a script or another program. One protocol-neutral
//! session (sound in, committed records out), and thin adapters around it.
//!
//! ```text
//! socket ─► adapter ─► feed ─► session ─► device thread: a cascade a session, most urgent first
//!                                 ▲                       │ steps
//!           adapter ◄─ follower ◄─┴── log ◄── records ◄───┘
//! ```
//!
//! A record is in the log before anybody sees it, and every reader follows the log at its own pace.
//! So a slow reader loses nothing and delays nobody, and a client that comes back goes on where it
//! was.
//!
//! | file | what it holds |
//! |---|---|
//! | `session` | sessions: opening, feeding, following, resuming, ending |
//! | `record`, `log` | what was committed, in memory and in `--state` |
//! | `device`, `turns`, `load` | the device's thread; whose step is next; who is admitted |
//! | `pace`, `text` | of its sessions: whether sound comes as it is spoken; text that waits |
//! | `feed` | sound as clients send it |
//! | `native` | our protocol, `/v1/stream` |
//! | `openai_rest`, `openai_realtime`, `deepgram` | protocols of other services |
//! | `owned`, `running_text` | what these share: a session of one connection, growing text |
//! | `jobs`, `spool`, `multipart` | whole files: their turns, where they wait, how they arrive |
//! | `mt`, `utterances` | the MT protocol, `/mt`, and its streams on the device's thread |
//! | `wlk` | WhisperLiveKit's protocol, `/asr` |
//! | `viewers` | server-sent events and captions for those who only read |
//! | `pages` | the pages for presenters and viewers, short links, QR codes |
//! | `socket`, `http`, `guard`, `cors`, `secret` | limits of connections; hosts, origins, tokens |
//! | `health`, `metrics` | whether the server can work; what it counts |
//! | `reply`, `description` | errors; what the routes are |

mod cors;
mod deepgram;
mod description;
mod device;
mod feed;
mod guard;
mod health;
mod http;
mod jobs;
mod load;
mod log;
mod metrics;
mod mt;
mod multipart;
mod native;
mod openai_realtime;
mod openai_rest;
mod owned;
mod pace;
mod pages;
mod record;
mod reply;
mod running_text;
mod secret;
mod session;
mod socket;
mod spool;
mod text;
mod turns;
mod utterances;
mod viewers;
mod wlk;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    ACCESS_CONTROL_REQUEST_HEADERS, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::device::DeviceThread;
use self::guard::{Guard, Place, Who};
use self::health::Beat;
use self::http::Peer;
use self::jobs::Jobs;
use self::load::Load;
use self::metrics::Metrics;
use self::openai_realtime::Secrets;
use self::pages::Site;
use self::reply::Problem;
use self::session::{Defaults, Sessions};
use crate::cascade::BoxError;
use crate::engines::resident::ModelSet;
use crate::gpu::DeviceChoice;
use crate::policy::PolicyKind;
use crate::text::{Language, Millis};

/// How a server is run.
pub(crate) struct Config {
    pub set: ModelSet,
    pub device: DeviceChoice,
    pub listen: SocketAddr,
    /// A file with a token a line; `None`: nobody needs one.
    pub tokens: Option<PathBuf>,
    /// Names that requests may call the server by, besides `localhost` and addresses; `None`: any.
    pub hosts: Option<Vec<String>>,
    /// Origins whose pages may use the server, besides its own.
    pub origins: Vec<String>,
    /// How many sockets an address may have.
    pub sockets: usize,
    /// Addresses of proxies that name the client of a request.
    pub proxies: Vec<IpAddr>,
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The folder for sessions, so that they survive a restart.
    pub state: Option<PathBuf>,
    pub sessions: usize,
    pub load: f64,
    /// The largest upload, in bytes.
    pub max_upload: u64,
    /// The most sound in an upload.
    pub max_length: Millis,
    pub linger: Duration,
    /// How long a shutdown waits for sessions to end.
    pub grace: Duration,
    /// What a session gets where its client says nothing.
    pub from: Language,
    pub to: Option<Language>,
    pub policy: PolicyKind,
    pub context: String,
    pub terms: String,
    /// The folder of the large page, which is served instead of the presenter's own.
    pub page: Option<PathBuf>,
    /// Where others reach the server.
    pub public_url: Option<String>,
    /// A port for the MT protocol alone.
    pub mt_port: Option<u16>,
    /// An utterance of the MT protocol with more words is ended; 0: none is.
    pub most_words: usize,
}

/// What all requests share.
struct App {
    sessions: Arc<Sessions>,
    guard: Arc<Guard>,
    beat: Arc<Beat>,
    jobs: Jobs,
    secrets: Secrets,
    site: Site,
    /// See [`Config::most_words`].
    most_words: usize,
}

impl App {
    /// A place for a live session of a client: a free one, or that of the client's oldest session
    /// that no connection has.
    fn place(&self, who: &Who) -> Option<Place> {
        self.guard.session(who).or_else(|| self.sessions.place_of_idle(who))
    }
}

/// Runs a server until SIGINT or SIGTERM. `report` is called while models load, and `started` with
/// the server's addresses when it can be used: that of all protocols, and that of the MT protocol
/// alone.
pub(crate) fn run(
    config: Config,
    report: impl FnMut(&str, u64, u64) + Send + 'static,
    started: impl FnOnce(SocketAddr, Option<SocketAddr>),
) -> Result<(), BoxError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(config, report, started))
}

async fn serve(
    config: Config,
    report: impl FnMut(&str, u64, u64) + Send + 'static,
    started: impl FnOnce(SocketAddr, Option<SocketAddr>),
) -> Result<(), BoxError> {
    // A SIGHUP that comes while the models load is not lost.
    let mut signals = Signals::new()?;
    // Whatever can be wrong is found before the models load.
    let guard = Arc::new(Guard::new(config.tokens, config.hosts, config.origins, config.proxies, config.sockets)?);
    let tls = config.tls.map(|(cert, key)| tls(&cert, &key)).transpose()?;
    let listener = TcpListener::bind(config.listen).await?;
    let address = listener.local_addr()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let site = Site::new(config.page.as_deref(), config.public_url, address, scheme)?;
    let mt_listener = match config.mt_port {
        Some(port) => Some(TcpListener::bind(SocketAddr::new(address.ip(), port)).await?),
        None => None,
    };
    let mt_address = mt_listener.as_ref().map(TcpListener::local_addr).transpose()?;
    let load = Arc::new(Load::new(config.sessions, config.load));
    let (set, device_load) = (config.set.clone(), load.clone());
    let device = tokio::task::spawn_blocking(move || {
        DeviceThread::start(set, config.device, device_load, report).map_err(|error| error.to_string())
    });
    let device = device.await??;
    let defaults = Defaults {
        from: config.from,
        to: config.to,
        policy: config.policy,
        context: config.context,
        terms: config.terms,
    };
    let metrics = Arc::new(Metrics::new());
    let sessions = Sessions::new(config.set, device.clone(), load, metrics, defaults, config.state, config.linger)?;
    let beat = Beat::new();
    tokio::spawn(health::watch(device, beat.clone()));
    let most_words = config.most_words;
    let (jobs, secrets) = (Jobs::new(config.max_upload, config.max_length), Secrets::new());
    let sessions = Arc::new(sessions);
    let app = Arc::new(App { sessions, guard: guard.clone(), beat, site, jobs, secrets, most_words });
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let accept = |listener, routes| {
        tokio::spawn(http::accept(listener, tls.clone(), routes, guard.clone(), stop.clone(), tasks.clone()))
    };
    let accepting = accept(listener, routes(app.clone()));
    let mt_accepting = mt_listener.map(|listener| accept(listener, mt_routes(app.clone())));
    app.sessions.look_after();
    started(address, mt_address);
    signals.stop(&guard).await?;
    // Readiness ends first, then live sockets are told to come back, then sessions end.
    app.sessions.draining.cancel();
    let drained = tokio::time::timeout(config.grace, app.sessions.drained());
    if drained.await.is_err() {
        app.sessions.stop_all();
        let _ = tokio::time::timeout(Duration::from_secs(5), app.sessions.drained()).await;
    }
    stop.cancel();
    let _ = accepting.await;
    if let Some(accepting) = mt_accepting {
        let _ = accepting.await;
    }
    tasks.close();
    let _ = tokio::time::timeout(Duration::from_secs(5), tasks.wait()).await;
    Ok(())
}

/// The signals that a server knows, from the moment that this is made.
#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    reload: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal to stop.
    async fn stop(&mut self, guard: &Guard) -> std::io::Result<()> {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Ok(()),
                _ = self.interrupt.recv() => return Ok(()),
                _ = self.reload.recv() => match guard.reload() {
                    Ok(()) => tracing::warn!("the tokens were read again"),
                    Err(error) => tracing::error!("the former tokens stay: {error}"),
                },
            }
        }
    }
}

/// Ctrl-C. It is caught only from [`Signals::stop`] on: who catches it last is asked first, and
/// while the models load it must end the program.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals)
    }

    async fn stop(&mut self, _: &Guard) -> std::io::Result<()> {
        tokio::signal::ctrl_c().await
    }
}

/// TLS with a certificate chain and a key, both PEM files.
fn tls(cert: &Path, key: &Path) -> Result<TlsAcceptor, BoxError> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let named = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let chain = CertificateDer::pem_file_iter(cert).map_err(|error| named(cert, &error))?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(|error| named(cert, &error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| named(key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| named(cert, &error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn routes(app: Arc<App>) -> Router {
    // What needs a token of the server. The middleware of `Router::layer` runs for these only.
    let guarded = Router::new()
        .route("/v1/stream", get(stream))
        .route("/asr", get(wlk::upgrade))
        .route("/mt", get(mt::upgrade))
        .route("/v1/models", get(health::models))
        .route("/v1/about", get(pages::about))
        .route("/v1/audio/transcriptions", post(openai_rest::transcriptions))
        .route("/v1/audio/translations", post(openai_rest::translations))
        .route("/v1/realtime/translations/client_secrets", post(openai_realtime::translation_secret))
        .route("/v1/realtime/client_secrets", post(openai_realtime::transcription_secret))
        .route("/v1/listen", get(deepgram::listen))
        .route("/metrics", get(health::metrics))
        .layer(from_fn_with_state(app.clone(), known_client));
    // What also takes a client secret.
    let realtime = Router::new()
        .route("/v1/realtime/translations", get(openai_realtime::translations))
        .route("/v1/realtime", get(openai_realtime::transcription))
        .layer(from_fn_with_state(app.clone(), openai_realtime::known_caller));
    // What has a token of its own, or tells nothing.
    let open = Router::new()
        .route("/v1/sessions/{id}/events", get(viewers::events))
        .route("/v1/sessions/{id}/{file}", get(viewers::captions))
        .route("/v1/sessions/{id}", get(viewers::listed))
        .route("/v1/sessions/{id}", delete(viewers::forget))
        .layer(from_fn_with_state(app.clone(), perhaps_known))
        .route("/v1/links/{code}", get(pages::link))
        .route("/", get(pages::home))
        .route("/present", get(pages::present))
        .route("/watch", get(pages::watch))
        .route("/w/{code}", get(pages::watch_link))
        .route("/overlay", get(pages::overlay))
        .route("/w/{code}/overlay", get(pages::overlay_link))
        .route("/pages/{name}", get(pages::part))
        .route("/qr.svg", get(pages::qr))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/health", get(health::health))
        .route("/openapi.json", get(description::description));
    guarded
        .merge(realtime)
        .merge(open)
        .fallback(pages::large)
        .layer(from_fn_with_state(app.clone(), every_request))
        .with_state(app)
}

/// Every path of a port that speaks the MT protocol alone.
fn mt_routes(app: Arc<App>) -> Router {
    Router::new()
        .fallback(mt::upgrade)
        .layer(from_fn_with_state(app.clone(), known_client))
        .layer(from_fn_with_state(app.clone(), every_request))
        .with_state(app)
}

fn nothing() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing at this address")
}

/// Checks host and origin of every request, and adds what every answer has.
async fn every_request(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let readable_by = app.guard.readable_by(request.headers());
    let sends = request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let preflight = request.method() == Method::OPTIONS && readable_by.is_some();
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let mut response = match app.guard.check_origin(request.method(), request.headers()) {
        Err(problem) => problem.into_response(),
        Ok(()) if preflight => StatusCode::NO_CONTENT.into_response(),
        Ok(()) => next.run(request).await,
    };
    app.sessions.metrics.request(route, response.status().as_u16());
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    if let Some(origin) = readable_by.and_then(|origin| HeaderValue::from_str(&origin).ok()) {
        cors::allow(headers, origin, sends);
    }
    response
}

fn who(app: &App, request: &Request) -> Result<Who, Problem> {
    app.guard.who(request.uri(), request.headers(), address(app, request)?)
}

/// A free place among the live sessions of a client.
fn place(app: &App, who: &Who) -> Result<Place, Problem> {
    Ok(app.sessions.place(&|| app.guard.session(who))?)
}

/// The address of the client.
fn address(app: &App, request: &Request) -> Result<IpAddr, Problem> {
    let socket = request.extensions().get::<Peer>().map(|peer| peer.0);
    // Every request of `http` has an address.
    let socket = socket.ok_or_else(|| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no address"))?;
    Ok(app.guard.client(socket, request.headers()))
}

/// Lets a request pass that has a token of the server, where one is needed.
async fn known_client(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    match who(&app, &request) {
        Ok(who) => {
            request.extensions_mut().insert(who);
            next.run(request).await
        }
        Err(problem) => {
            app.sessions.metrics.auth_failure();
            problem.into_response()
        }
    }
}

/// Notes whether a request has a token of the server.
async fn perhaps_known(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    if let Ok(who) = who(&app, &request) {
        request.extensions_mut().insert(who);
    }
    next.run(request).await
}

/// `GET /v1/stream`.
async fn stream(
    State(app): State<Arc<App>>,
    axum::Extension(who): axum::Extension<Who>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let sessions = app.sessions.clone();
    socket::limited(upgrade)
        .protocols([native::SUBPROTOCOL, socket::TOKEN])
        .on_upgrade(move |socket| async move { sessions.tracked(native::serve(socket, app, who)).await })
}
