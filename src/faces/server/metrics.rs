//! What the server counts, as Prometheus reads it. No label names a session, a token or a text.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::cascade::event::Progress;

/// Upper ends of the histograms' buckets, in seconds.
const SECONDS: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0];

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
struct Build {
    version: &'static str,
}

/// All counters of a server.
pub(super) struct Metrics {
    registry: Registry,
    sessions: Gauge<i64, AtomicI64>,
    opened: Counter,
    refused: Family<Why, Counter>,
    audio_seconds: Family<Protocol, Counter<f64, AtomicU64>>,
    lag: Histogram,
    backlog: Histogram,
    steps: Family<Stage, Histogram>,
    log_waits: Counter,
    auth_failures: Counter,
    closed: Family<Code, Counter>,
    requests: Family<Code, Counter>,
    ignored: Family<Protocol, Counter>,
    busy: Counter<f64, AtomicU64>,
    slots: Gauge<i64, AtomicI64>,
    slots_used: Gauge<i64, AtomicI64>,
}

impl Metrics {
    pub(super) fn new() -> Metrics {
        let mut registry = Registry::with_prefix("alignatt");
        let seconds = || Histogram::new(SECONDS);
        let metrics = Metrics {
            sessions: Gauge::default(),
            opened: Counter::default(),
            refused: Family::default(),
            audio_seconds: Family::default(),
            lag: seconds(),
            backlog: seconds(),
            steps: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            log_waits: Counter::default(),
            auth_failures: Counter::default(),
            closed: Family::default(),
            requests: Family::default(),
            ignored: Family::default(),
            busy: Counter::default(),
            slots: Gauge::default(),
            slots_used: Gauge::default(),
            registry: Registry::default(),
        };
        let build = Family::<Build, Gauge>::default();
        build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("build_info", "Version of the program", build);
        registry.register("sessions", "Sessions that run", metrics.sessions.clone());
        registry.register("sessions_opened", "Sessions that were opened", metrics.opened.clone());
        registry.register("sessions_refused", "Sessions that were refused", metrics.refused.clone());
        registry.register("slots", "Sessions that can run at a time", metrics.slots.clone());
        registry.register("slots_used", "Places that are taken", metrics.slots_used.clone());
        let unit = || Unit::Seconds;
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
        registry.register("log_waits", "Records that could not be written at once", metrics.log_waits.clone());
        registry.register("auth_failures", "Requests without a valid token", metrics.auth_failures.clone());
        registry.register("ws_closed", "WebSockets that the server closed, by code", metrics.closed.clone());
        registry.register("http_responses", "Responses by status", metrics.requests.clone());
        registry.register(
            "ignored_options",
            "Options of other protocols that have no meaning here",
            metrics.ignored.clone(),
        );
        Metrics { registry, ..metrics }
    }

    pub(super) fn opened(&self) {
        self.sessions.inc();
        self.opened.inc();
    }

    pub(super) fn ended(&self) {
        self.sessions.dec();
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

    pub(super) fn log_waits(&self) {
        self.log_waits.inc();
    }

    pub(super) fn auth_failure(&self) {
        self.auth_failures.inc();
    }

    pub(super) fn closed(&self, code: u16) {
        self.closed.get_or_create(&Code { code: u32::from(code) }).inc();
    }

    pub(super) fn response(&self, status: u16) {
        self.requests.get_or_create(&Code { code: u32::from(status) }).inc();
    }

    /// Counts an option of another protocol that is ignored.
    pub(super) fn ignored(&self, protocol: &'static str) {
        self.ignored.get_or_create(&Protocol { protocol }).inc();
    }

    /// The text for Prometheus. `busy`: the time that the device's thread has spent in steps.
    pub(super) fn text(&self, (used, slots): (usize, usize), busy: Duration) -> String {
        self.slots.set(i64::try_from(slots).unwrap_or(i64::MAX));
        self.slots_used.set(i64::try_from(used).unwrap_or(i64::MAX));
        let more = busy.as_secs_f64() - self.busy.get();
        self.busy.inc_by(more.max(0.0));
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
