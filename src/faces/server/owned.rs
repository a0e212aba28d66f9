//! A session that lives as long as its connection: in the protocols of other services a client
//! cannot come back to one.

use std::ops::Deref;
use std::sync::Arc;

use super::App;
use super::guard::Place;
use super::reply::Problem;
use super::session::{Session, Wanted};

/// A session. Dropping it ends it, and nothing of it is kept.
pub(super) struct Owned {
    app: Arc<App>,
    session: Arc<Session>,
    protocol: &'static str,
    _place: Place,
}

impl Owned {
    /// Opens a session. `batch`: a whole file, which has no deadline.
    pub(super) async fn open(
        app: &Arc<App>,
        place: Place,
        wanted: Wanted,
        batch: bool,
        protocol: &'static str,
    ) -> Result<Owned, Problem> {
        let session = app.sessions.open(wanted, batch, None).await?;
        Ok(Owned { app: app.clone(), session, protocol, _place: place })
    }

    /// The session itself, for whoever feeds it.
    pub(super) fn shared(&self) -> Arc<Session> {
        self.session.clone()
    }
}

impl Deref for Owned {
    type Target = Arc<Session>;

    fn deref(&self) -> &Arc<Session> {
        &self.session
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.app.sessions.metrics.audio(self.protocol, self.session.length());
        self.session.abandon();
        self.app.sessions.remove(&self.session);
    }
}
