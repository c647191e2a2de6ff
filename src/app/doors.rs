//! The doors of a node: what answers at them, opened last and closed first.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::checkup::Checkup;
#[cfg(feature = "scheduler")]
use super::machine::Machine;
use super::program::Program;
use super::settings::Settings;
use super::{StartError, backups, host};
use crate::api::{self, Listener, Metrics, Routes, Services, UsersOptions};
use crate::jobs::Jobs;
#[cfg(feature = "template")]
use crate::jobs::templates::Meter;
use crate::raft::RaftStore;

/// What the doors lead to.
pub struct Inside<'a> {
    pub settings: &'a Settings,
    pub store: &'a Arc<RaftStore>,
    #[cfg(feature = "scheduler")]
    pub machine: Option<&'a Machine>,
    #[cfg(feature = "template")]
    pub meter: Option<Meter>,
    pub program: Option<Arc<Program>>,
}

/// The doors, open.
pub struct Doors {
    doors: api::Doors,
    /// Ends fleet's long answers when the doors close.
    closing: CancellationToken,
}

impl Doors {
    /// Opens them; starts the job of backups, which can be asked for at them.
    ///
    /// # Errors
    /// Where backups are to go is no place for them.
    pub fn open(listeners: Vec<Listener>, inside: Inside<'_>, jobs: &mut Jobs) -> Result<Self, StartError> {
        let (settings, store, closing) = (inside.settings, inside.store, CancellationToken::new());
        let backups = backups::start(settings, store, jobs)?;
        let services = Services {
            store: store.clone(),
            clock: Arc::new(host::SystemClock),
            random: Arc::new(host::SystemRandom),
            users: UsersOptions {
                token_ttl_seconds: settings.auth.token_ttl_seconds,
                password_cost: settings.auth.bcrypt_cost,
            },
            watch_progress: Duration::from_millis(settings.watch_progress_ms),
            identity: settings.identity.clone(),
            routes: inside
                .routes(&closing)
                .merge(api::checkup::routes(Arc::new(Checkup::new(settings, store, backups.clone()))))
                .merge(api::backups::routes(backups))
                .merge(api::secrets::routes(store.clone())),
            metrics: inside.metrics(),
        };
        Ok(Self { doors: api::serve(listeners, services), closing })
    }

    /// Closes them.
    pub async fn stop(self) {
        self.closing.cancel();
        self.doors.stop().await;
    }
}

impl Inside<'_> {
    /// The paths of the machine and of the program, as far as there are any.
    fn routes(&self, closing: &CancellationToken) -> Routes {
        #[cfg(feature = "scheduler")]
        let routes = self.machine.map(|machine| machine.routes(self.store, closing)).unwrap_or_default();
        #[cfg(not(feature = "scheduler"))]
        let (routes, _) = (Routes::default(), closing);
        match self.program.clone() {
            Some(program) => routes.merge(api::program::routes(program)),
            None => routes,
        }
    }

    fn metrics(self) -> Vec<Metrics> {
        let metrics: &[Option<Metrics>] = &[
            #[cfg(feature = "scheduler")]
            self.machine.map(|machine| machine.counts() as Metrics),
            #[cfg(feature = "template")]
            self.meter.map(|meter| Arc::new(meter) as Metrics),
        ];
        metrics.iter().flatten().cloned().collect()
    }
}
