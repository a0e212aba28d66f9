//! What the server counts, as Prometheus reads it. No label names a session, a token or a text.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::cascade::event::Progress;

/// Upper ends of the histograms' buckets, in seconds: of steps, of whole sessions, and of writes.
const SECONDS: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0];
const SESSION_SECONDS: [f64; 9] = [1.0, 10.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0];
const WRITE_SECONDS: [f64; 9] = [0.0001, 0.0005, 0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Why {
    why: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Protocol {
    protocol: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stage {
    stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: String,
    status: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

const RUNNING: State = State { state: "running" };

/// All counters of a server.
pub(super) struct Metrics {
    registry: Registry,
    sessions: Family<State, Gauge<i64, AtomicI64>>,
    session: Histogram,
    opened: Counter,
    refused: Family<Why, Counter>,
    audio_seconds: Family<Protocol, Counter<f64, AtomicU64>>,
    lag: Histogram,
    backlog: Histogram,
    steps: Family<Stage, Histogram>,
    log_append: Histogram,
    log_waits: Counter,
    auth_failures: Counter,
    closed: Family<Code, Counter>,
    requests: Family<Answered, Counter>,
    ignored: Family<Protocol, Counter>,
    busy: Counter<f64, AtomicU64>,
    slots: Gauge<i64, AtomicI64>,
    slots_used: Gauge<i64, AtomicI64>,
    /// Logs that cannot be written now.
    stuck: AtomicUsize,
}

/// A log that cannot be written.
pub(super) struct Stuck<'a>(&'a AtomicUsize);

impl Drop for Stuck<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A session that runs.
pub(super) struct Running {
    metrics: Arc<Metrics>,
    began: Instant,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.metrics.sessions.get_or_create(&RUNNING).dec();
        self.metrics.session.observe(self.began.elapsed().as_secs_f64());
    }
}

impl Metrics {
    pub(super) fn new() -> Metrics {
        let mut registry = Registry::with_prefix("alignatt");
        let seconds = || Histogram::new(SECONDS);
        let metrics = Metrics {
            sessions: Family::default(),
            session: Histogram::new(SESSION_SECONDS),
            opened: Counter::default(),
            refused: Family::default(),
            audio_seconds: Family::default(),
            lag: seconds(),
            backlog: seconds(),
            steps: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            log_append: Histogram::new(WRITE_SECONDS),
            log_waits: Counter::default(),
            auth_failures: Counter::default(),
            closed: Family::default(),
            requests: Family::default(),
            ignored: Family::default(),
            busy: Counter::default(),
            slots: Gauge::default(),
            slots_used: Gauge::default(),
            stuck: AtomicUsize::new(0),
            registry: Registry::default(),
        };
        let build = Family::<Build, Gauge>::default();
        build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("build_info", "Version of the program", build);
        registry.register("sessions", "Sessions by what becomes of them", metrics.sessions.clone());
        registry.register("sessions_opened", "Sessions that were opened", metrics.opened.clone());
        registry.register("sessions_refused", "Sessions that were refused", metrics.refused.clone());
        registry.register("slots", "Sessions that can run at a time", metrics.slots.clone());
        registry.register("slots_used", "Places that are taken", metrics.slots_used.clone());
        let unit = || Unit::Seconds;
        registry.register_with_unit(
            "session",
            "Time from a session's start to its end",
            unit(),
            metrics.session.clone(),
        );
        registry.register_with_unit("audio", "Sound taken in", unit(), metrics.audio_seconds.clone());
        registry.register_with_unit(
            "lag",
            "From the arrival of a step's oldest sound to its last result",
            unit(),
            metrics.lag.clone(),
        );
        registry.register_with_unit("backlog", "Sound that waits when a step ends", unit(), metrics.backlog.clone());
        registry.register_with_unit("step", "Time of a step in each model", unit(), metrics.steps.clone());
        registry.register_with_unit(
            "device_busy",
            "Time that the device's thread spent in steps",
            unit(),
            metrics.busy.clone(),
        );
        registry.register_with_unit(
            "log_append",
            "Time to write a record, with the time that it had to wait",
            unit(),
            metrics.log_append.clone(),
        );
        registry.register("log_waits", "Records that could not be written at once", metrics.log_waits.clone());
        registry.register("auth_failures", "Requests without a valid token", metrics.auth_failures.clone());
        registry.register("ws_closed", "WebSockets that have ended, by code", metrics.closed.clone());
        registry.register("http_requests", "Requests by route and status", metrics.requests.clone());
        registry.register(
            "ignored_options",
            "Options of other protocols that have no meaning here",
            metrics.ignored.clone(),
        );
        Metrics { registry, ..metrics }
    }

    /// Counts a session until the value is dropped.
    pub(super) fn opened(self: &Arc<Metrics>) -> Running {
        self.sessions.get_or_create(&RUNNING).inc();
        self.opened.inc();
        Running { metrics: self.clone(), began: Instant::now() }
    }

    pub(super) fn refused(&self, why: &'static str) {
        self.refused.get_or_create(&Why { why }).inc();
    }

    pub(super) fn audio(&self, protocol: &'static str, length: Duration) {
        self.audio_seconds.get_or_create(&Protocol { protocol }).inc_by(length.as_secs_f64());
    }

    pub(super) fn step(&self, progress: &Progress) {
        self.lag.observe(progress.lag_ms.seconds());
        self.backlog.observe(progress.waiting_ms.seconds());
        for (stage, spent) in
            [("recognize", progress.recognize_ms), ("align", progress.align_ms), ("translate", progress.translate_ms)]
        {
            self.steps.get_or_create(&Stage { stage }).observe(spent.seconds());
        }
    }

    /// A record was written after this time.
    pub(super) fn log_append(&self, took: Duration) {
        self.log_append.observe(took.as_secs_f64());
    }

    pub(super) fn log_waits(&self) {
        self.log_waits.inc();
    }

    /// A log cannot be written until the value is dropped.
    pub(super) fn log_is_stuck(&self) -> Stuck<'_> {
        self.stuck.fetch_add(1, Ordering::Relaxed);
        Stuck(&self.stuck)
    }

    /// Whether a log cannot be written now.
    pub(super) fn some_log_is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed) > 0
    }

    pub(super) fn auth_failure(&self) {
        self.auth_failures.inc();
    }

    pub(super) fn closed(&self, code: u16) {
        self.closed.get_or_create(&Code { code: u32::from(code) }).inc();
    }

    /// Counts a request. `route`: as the router has it, because a path can hold a code or an id.
    pub(super) fn request(&self, route: String, status: u16) {
        self.requests.get_or_create(&Answered { route, status: u32::from(status) }).inc();
    }

    /// Counts an option of another protocol that is ignored.
    pub(super) fn ignored(&self, protocol: &'static str) {
        self.ignored.get_or_create(&Protocol { protocol }).inc();
    }

    /// The text for Prometheus. `ended`, `waiting`: sessions that do not run. `busy`: the time that
    /// the device's thread has spent in steps.
    pub(super) fn text(
        &self,
        (used, slots): (usize, usize),
        (ended, waiting): (usize, usize),
        busy: Duration,
    ) -> String {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.slots.set(count(slots));
        self.slots_used.set(count(used));
        self.sessions.get_or_create(&State { state: "ended" }).set(count(ended));
        self.sessions.get_or_create(&State { state: "waiting" }).set(count(waiting));
        // A server without sessions has none that run, which is not the same as no figure.
        drop(self.sessions.get_or_create(&RUNNING));
        let more = busy.as_secs_f64() - self.busy.get();
        self.busy.inc_by(more.max(0.0));
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_counted_while_it_runs_and_timed_at_its_end() {
        let metrics = Arc::new(Metrics::new());
        let text = || metrics.text((0, 16), (3, 2), Duration::ZERO);
        let has = |line: &str| assert!(text().lines().any(|own| own == line), "{line} is not in\n{}", text());
        has("alignatt_sessions{state=\"running\"} 0");
        let running = metrics.opened();
        has("alignatt_sessions{state=\"running\"} 1");
        has("alignatt_session_seconds_count 0");
        drop(running);
        has("alignatt_sessions{state=\"running\"} 0");
        has("alignatt_sessions{state=\"ended\"} 3");
        has("alignatt_sessions{state=\"waiting\"} 2");
        has("alignatt_session_seconds_count 1");
        metrics.log_append(Duration::from_millis(3));
        has("alignatt_log_append_seconds_bucket{le=\"0.005\"} 1");
        metrics.request("/w/{code}".to_owned(), 200);
        has("alignatt_http_requests_total{route=\"/w/{code}\",status=\"200\"} 1");
    }

    /// All that the documentation lists is there, and nothing else.
    #[test]
    fn the_documentation_lists_all_metrics() {
        let metrics = Arc::new(Metrics::new());
        // What has labels is there once it has been counted.
        metrics.refused("full");
        metrics.audio("native", Duration::ZERO);
        metrics.step(&Progress::default());
        metrics.closed(1000);
        metrics.request("other".to_owned(), 404);
        metrics.ignored("openai");
        let text = metrics.text((0, 16), (0, 0), Duration::ZERO);
        let mut there: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE alignatt_")).collect();
        there.iter_mut().for_each(|line| *line = line.split(' ').next().unwrap());
        let docs = include_str!("../../../docs/serving.md");
        let table = docs.split("| metric |").nth(1).unwrap().split("\n\n").next().unwrap();
        let rows = table.lines().filter_map(|row| row.strip_prefix("| `")?.split(['`', '{']).next());
        let mut listed: Vec<&str> = rows.map(|name| name.trim_end_matches("_total")).collect();
        there.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, there);
    }
}
