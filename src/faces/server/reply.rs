//! Errors as the server's clients read them: OpenAI's shape, which its own clients turn into typed
//! exceptions and everybody else can read.

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::session::Refused;

/// After how many seconds a client that was refused may try again.
const RETRY_SECONDS: u64 = 5;
/// The same in milliseconds, for protocols that have no header for that.
pub(super) const RETRY_MS: u64 = RETRY_SECONDS * 1000;

/// An error of a request.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub status: StatusCode,
    pub message: String,
    /// The parameter that is wrong.
    pub param: Option<&'static str>,
    pub code: Option<&'static str>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Problem {
        Problem { status, message: message.into(), param: None, code: None }
    }

    /// A request that is wrong in its parameter `param`.
    pub(super) fn bad(param: &'static str, message: impl Into<String>) -> Problem {
        Problem { param: Some(param), ..Problem::new(StatusCode::BAD_REQUEST, message) }
    }

    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "authentication_error",
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// `{"error": {message, type, param, code}}`.
    pub(super) fn json(&self) -> Value {
        json!({"error": {"message": self.message, "type": self.kind(), "param": self.param, "code": self.code}})
    }

    /// Whether the same request may succeed later.
    pub(super) fn passes(&self) -> bool {
        matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
    }

    /// After which time the same request may succeed, if it may.
    pub(super) fn retry_after_ms(&self) -> Option<u64> {
        self.passes().then_some(RETRY_MS)
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Problem {
        let (status, code) = match &refused {
            Refused::Full(_) => (StatusCode::SERVICE_UNAVAILABLE, "at_capacity"),
            Refused::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
            Refused::TooMany => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded"),
            Refused::Bad(_) => (StatusCode::BAD_REQUEST, "unsupported"),
            Refused::Device(_) | Refused::Log(_) => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        };
        Problem { code: Some(code), ..Problem::new(status, refused.to_string()) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.json())).into_response();
        if self.passes() {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_SECONDS));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(axum::http::header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}
