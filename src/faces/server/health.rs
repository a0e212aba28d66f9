//! Whether the server lives and can work. `/readyz` asks the device's thread itself: that a web
//! thread answers says nothing about the models.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::time::Instant;

use super::App;
use super::device::DeviceThread;
use super::pages::named;

/// How often the device is asked for a pass.
const BEAT: Duration = Duration::from_secs(5);
/// A device that has not answered for this long is not ready.
const LATE: Duration = Duration::from_secs(15);
/// A device that has not answered for this long will not come back.
const DEAD: Duration = Duration::from_secs(60);
/// The exit code of a server whose device is lost: the system may start it again.
pub(super) const DEVICE_LOST: i32 = 70;

/// The newest answer of the device.
pub(super) struct Beat {
    began: Instant,
    /// Milliseconds since `began`.
    answered: AtomicU64,
}

impl Beat {
    pub(super) fn new() -> Arc<Beat> {
        Arc::new(Beat { began: Instant::now(), answered: AtomicU64::new(0) })
    }

    /// How long ago the device answered.
    fn silence(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.answered.load(Ordering::Relaxed)))
    }

    /// Why the device is not ready.
    fn problem(&self) -> Option<String> {
        let silence = self.silence();
        (silence > LATE).then(|| format!("the device has not answered for {} s", silence.as_secs()))
    }
}

/// Asks the device for a pass every five seconds. A device that is lost ends the program.
pub(super) async fn watch(device: DeviceThread, beat: Arc<Beat>) {
    loop {
        match tokio::time::timeout(DEAD, device.beat()).await {
            Ok(Ok(())) => {
                let now = u64::try_from(beat.began.elapsed().as_millis()).unwrap_or(u64::MAX);
                beat.answered.store(now, Ordering::Relaxed);
            }
            Ok(Err(why)) => lost(&why),
            Err(_) => lost("the device has not answered for a minute"),
        }
        tokio::time::sleep(BEAT).await;
    }
}

fn lost(why: &str) -> ! {
    tracing::error!("the device is lost, and the server ends: {why}");
    std::process::exit(DEVICE_LOST);
}

/// `GET /healthz`: the process lives.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: models are loaded, the device answers, logs can be written, and the server is not
/// shutting down.
pub(super) async fn readyz(State(app): State<Arc<App>>) -> Response {
    match why_not(&app) {
        None => (StatusCode::OK, "ready\n".to_owned()).into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

fn why_not(app: &App) -> Option<String> {
    if app.sessions.draining.is_cancelled() {
        return Some("the server is shutting down".to_owned());
    }
    if app.sessions.metrics.some_log_is_stuck() {
        return Some("the log of a session cannot be written".to_owned());
    }
    app.beat.problem()
}

/// `GET /health`, as WhisperLiveKit has it.
pub(super) async fn health(State(app): State<Arc<App>>) -> Json<serde_json::Value> {
    Json(json!({"status": "ok", "backend": "alignatt", "ready": why_not(&app).is_none()}))
}

/// `GET /metrics`.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let busy = Duration::from_nanos(app.sessions.device.busy_ns.load(Ordering::Relaxed));
    let text = app.sessions.metrics.text(app.sessions.load.slots(), app.sessions.kept(), busy);
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}

/// `GET /v1/models`, as OpenAI has it.
pub(super) async fn models(State(app): State<Arc<App>>) -> Json<serde_json::Value> {
    let models =
        app.sessions.set.models().map(
            |(_, model)| json!({"id": named(&model.name), "object": "model", "created": 0, "owned_by": "alignatt"}),
        );
    Json(json!({"object": "list", "data": models.collect::<Vec<_>>()}))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device that takes questions and does not answer is not ready after fifteen seconds, though
    /// the rest of the server is well.
    #[tokio::test(start_paused = true)]
    async fn a_device_that_hangs_is_not_ready() {
        let (device, _questions) = DeviceThread::silent();
        let beat = Beat::new();
        let watching = tokio::spawn(watch(device, beat.clone()));
        tokio::time::sleep(LATE - Duration::from_secs(1)).await;
        assert_eq!(beat.problem(), None);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(beat.problem().as_deref(), Some("the device has not answered for 16 s"));
        watching.abort();
    }

    /// A device that answers again is ready again.
    #[tokio::test(start_paused = true)]
    async fn a_device_that_answers_late_is_ready_again() {
        let (device, mut questions) = DeviceThread::silent();
        let beat = Beat::new();
        let watching = tokio::spawn(watch(device, beat.clone()));
        tokio::time::sleep(LATE + Duration::from_secs(5)).await;
        assert!(beat.problem().is_some());
        questions.answer().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(beat.problem(), None);
        watching.abort();
    }
}
