//! systemd's methods, as far as they are used here. The bus allows a connection few unanswered calls (128, by default), so
//! calls take turns.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};
use zbus::{Connection, Message, OwnedVariant};
use zbus_systemd::systemd1::ManagerProxy;

use super::bus;

/// systemd, callable at the moment at which this was made.
pub struct Caller {
    connection: Connection,
    /// Which connection this is.
    pub number: u64,
    manager: ManagerProxy<'static>,
    turns: Arc<Semaphore>,
}

impl Caller {
    pub async fn new(connection: Connection, number: u64, turns: Arc<Semaphore>) -> zbus::Result<Self> {
        let manager = bus::manager(&connection).await?;
        Ok(Self { connection, number, manager, turns })
    }

    /// Waits for a turn, which ends when it is dropped. `None` would mean that turns are no longer given, which never is.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.acquire().await.ok()
    }

    /// Asks for a unit to be started; returns once that is accepted.
    pub async fn start(&self, unit: &str) -> zbus::Result<()> {
        let _turn = self.turn().await;
        self.manager.start_unit(unit.to_owned(), "replace".to_owned()).await.map(drop)
    }

    /// Asks for a unit to be stopped; that systemd does not have it in memory is fine, as then it does not run.
    pub async fn stop(&self, unit: &str) -> zbus::Result<()> {
        let _turn = self.turn().await;
        present(self.manager.stop_unit(unit.to_owned(), "replace".to_owned()).await)
    }

    /// Links unit files, by their paths, until the next boot.
    pub async fn link(&self, paths: Vec<String>) -> zbus::Result<()> {
        let _turn = self.turn().await;
        self.manager.link_unit_files(paths, true, true).await.map(drop)
    }

    /// Makes the links that the units' `[Install]` asks for, until the next boot.
    pub async fn enable(&self, units: Vec<String>) -> zbus::Result<()> {
        let _turn = self.turn().await;
        self.manager.enable_unit_files(units, true, true).await.map(drop)
    }

    /// Removes all links to a unit's file; that there are none is fine.
    pub async fn disable(&self, unit: &str) -> zbus::Result<()> {
        let _turn = self.turn().await;
        present(self.manager.disable_unit_files(vec![unit.to_owned()], true).await)
    }

    /// Lets systemd forget that a unit failed; that it knows nothing of it is fine.
    pub async fn reset_failed(&self, unit: &str) -> zbus::Result<()> {
        let _turn = self.turn().await;
        present(self.manager.reset_failed_unit(unit.to_owned()).await)
    }

    /// Has systemd read its configuration anew; returns once it has.
    pub async fn reload(&self) -> zbus::Result<()> {
        let _turn = self.turn().await;
        self.manager.reload().await
    }

    /// As [`bus::list_units`].
    pub async fn list_units(&self, units: &[String]) -> zbus::Result<Message> {
        let _turn = self.turn().await;
        bus::list_units(&self.connection, units).await
    }

    /// One property of a unit. `interface` is the unit's own or that of its type.
    pub async fn property(&self, unit: &str, interface: &str, name: &str) -> zbus::Result<OwnedVariant> {
        let _turn = self.turn().await;
        bus::property(&self.connection, unit, interface, name).await
    }
}

/// An answer, where the unit's not being there is as good as its being gone.
fn present<T>(answer: zbus::Result<T>) -> zbus::Result<()> {
    match answer {
        Err(error) if !bus::is_missing(&error) => Err(error),
        _ => Ok(()),
    }
}
