//! Client secrets: tokens that a page gets for sessions of one kind, for a while. They carry what
//! they allow, signed by this server, so none of them is kept.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{App, Kind, Problem, Who, now};
use crate::faces::server::guard::{Line, given_tokens};
use crate::faces::server::secret::random;

/// How long a secret is good, in seconds, and what a client may ask for.
const USUAL: u64 = 600;
const RANGE: std::ops::RangeInclusive<u64> = 10..=7200;
/// The most bytes of a session in a secret.
const LARGEST: usize = 6 << 10;

/// Signs secrets. A server that is started again knows those of before no more.
pub(in super::super) struct Secrets {
    key: hmac::Key,
}

/// Who opens a socket, and as what.
#[derive(Clone)]
pub(in super::super) struct Caller {
    pub(super) who: Who,
    /// What a client secret says about the session.
    pub(super) preset: Option<Preset>,
}

/// What a secret holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Preset {
    pub(super) kind: Kind,
    pub(super) session: Value,
    expires: u64,
    /// The line of the token that asked for it. A page can read this, so it is no digest, which
    /// would help to guess the token.
    token: Option<Line>,
}

impl Secrets {
    pub(in super::super) fn new() -> Secrets {
        Secrets { key: hmac::Key::new(hmac::HMAC_SHA256, &random::<32>()) }
    }

    fn seal(&self, preset: &Preset) -> Result<String, serde_json::Error> {
        let payload = serde_json::to_vec(preset)?;
        let tag = hmac::sign(&self.key, &payload);
        Ok(format!("ek_{}.{}", URL_SAFE_NO_PAD.encode(payload), URL_SAFE_NO_PAD.encode(tag)))
    }

    /// What a secret of this server holds.
    fn open(&self, secret: &str) -> Option<Preset> {
        let (payload, tag) = secret.strip_prefix("ek_")?.split_once('.')?;
        let (payload, tag) = (URL_SAFE_NO_PAD.decode(payload).ok()?, URL_SAFE_NO_PAD.decode(tag).ok()?);
        hmac::verify(&self.key, &payload, &tag).ok()?;
        serde_json::from_slice(&payload).ok()
    }
}

/// Makes a secret.
pub(super) fn create(app: &App, who: &Who, kind: Kind, body: &[u8]) -> Result<Value, Problem> {
    #[derive(Default, Deserialize)]
    struct Wish {
        session: Option<Value>,
        expires_after: Option<After>,
    }
    #[derive(Deserialize)]
    struct After {
        anchor: Option<String>,
        seconds: Option<u64>,
    }
    let wish: Wish = match body {
        b"" => Wish::default(),
        body => serde_json::from_slice(body).map_err(|error| Problem::bad("body", error.to_string()))?,
    };
    let after = wish.expires_after.unwrap_or(After { anchor: None, seconds: None });
    if after.anchor.is_some_and(|anchor| anchor != "created_at") {
        return Err(Problem::bad("expires_after.anchor", "the anchor is `created_at`"));
    }
    let seconds = after.seconds.unwrap_or(USUAL);
    if !RANGE.contains(&seconds) {
        return Err(Problem::bad("expires_after.seconds", "a secret is good for 10 to 7200 seconds"));
    }
    let session = wish.session.unwrap_or_else(|| json!({}));
    if session.to_string().len() > LARGEST {
        return Err(Problem::bad("session", "the session is longer than 6 KiB"));
    }
    let model = session.get("model").and_then(Value::as_str).map(str::to_owned);
    let mut protocol = kind.start(app, model);
    protocol.update(app, &session, false)?;
    let token = match who {
        Who::Token(digest) => {
            let gone = || Problem::new(StatusCode::UNAUTHORIZED, "a valid token is needed");
            Some(app.guard.line(digest).ok_or_else(gone)?)
        }
        Who::Address(_) => None,
    };
    let expires = now() + seconds;
    let preset = Preset { kind, session, expires, token };
    let failed = |error: serde_json::Error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    let value = app.secrets.seal(&preset).map_err(failed)?;
    Ok(json!({"value": value, "expires_at": expires, "session": protocol.session()}))
}

/// Lets a request pass that has a token of the server or a client secret.
pub(in super::super) async fn known_caller(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    match caller(&app, &request) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => {
            app.sessions.metrics.auth_failure();
            problem.into_response()
        }
    }
}

fn caller(app: &App, request: &Request) -> Result<Caller, Problem> {
    let given = given_tokens(request.uri(), request.headers());
    let Some(secret) = given.iter().find(|token| token.starts_with("ek_")) else {
        return Ok(Caller { who: super::super::who(app, request)?, preset: None });
    };
    let wrong = || Problem::new(StatusCode::UNAUTHORIZED, "the client secret is not valid, or has expired");
    let preset = app.secrets.open(secret).ok_or_else(wrong)?;
    if preset.expires < now() {
        return Err(wrong());
    }
    let who = match preset.token {
        Some(line) => app.guard.of_line(line).ok_or_else(wrong)?,
        None => Who::Address(super::super::address(app, request)?),
    };
    Ok(Caller { who, preset: Some(preset) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_good_only_as_it_was_made() {
        let secrets = Secrets::new();
        let preset = Preset {
            kind: Kind::Translation,
            session: json!({"audio": {"output": {"language": "de"}}}),
            expires: 5,
            token: Some(Line { at: 3, reading: 1 }),
        };
        let sealed = secrets.seal(&preset).unwrap();
        let opened = secrets.open(&sealed).unwrap();
        assert_eq!((opened.kind, opened.expires, opened.token), (Kind::Translation, 5, preset.token));
        assert_eq!(opened.session, preset.session);
        assert!(Secrets::new().open(&sealed).is_none(), "another server's");
        for at in 0..sealed.len() {
            let mut bytes = sealed.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            // The last character of base64 may have bits without a meaning.
            assert!(secrets.open(&changed).is_none() || at + 1 == sealed.len(), "{at}");
        }
        for wrong in ["", "ek_", "ek_.", "ek_e30.", "ek_!!.!!"] {
            assert!(secrets.open(wrong).is_none(), "{wrong}");
        }
    }
}
