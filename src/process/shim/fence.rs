//! A shim's part in `Exclusive=true`: the unit ends when the time that it may run is over, whatever has become of the node.

use super::*;
use crate::base::limits::{FENCE_KILL_AGAIN_MS, FENCE_LOOK_MS, FENCE_STOP_MS};

/// How long an exclusive unit may run.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    /// `None`: the unit is not exclusive.
    until: Option<BootMillis>,
    /// The time was over, and the unit was stopped for it.
    ended: bool,
}

impl Allowance {
    /// What a start brings along.
    pub fn begin(&mut self, until: Option<BootMillis>) {
        *self = Self { until: until.map(|until| until.max(self.until.unwrap_or_default())), ended: false };
    }

    /// The unit may run longer; one that is being stopped already is stopped nevertheless.
    pub fn extend(&mut self, until: BootMillis) {
        self.until = Some(until.max(self.until.unwrap_or_default()));
    }

    /// Whether the unit must not run any more.
    pub fn is_over(&self) -> bool {
        self.until.is_some_and(|until| boot_now() >= until)
    }

    /// Waits until the clock is to be looked at again. Timers stand still while a machine sleeps, which is why it is never long.
    pub async fn look(until: Option<BootMillis>) {
        let Some(until) = until else { return std::future::pending().await };
        let pause = match boot_now().until(until) {
            0 => FENCE_KILL_AGAIN_MS,
            left => left.min(FENCE_LOOK_MS),
        };
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

impl Shim {
    /// When the time that the unit may run is to be looked at; `None`: it need not be.
    pub(super) fn watched_until(&self) -> Option<BootMillis> {
        let gone = self.machine.state().settled() && !self.machine.group_alive();
        self.allowance.until.filter(|_| !gone)
    }

    /// Stops the unit once its time is over, and kills what is left when the time for that is over too.
    pub(super) fn enforce_allowance(&mut self) {
        let Some(until) = self.allowance.until.filter(|until| boot_now() >= *until) else { return };
        if !std::mem::replace(&mut self.allowance.ended, true) {
            self.log.say("The lease of this machine has run out, and Exclusive=true: stopping");
            self.ordered = true;
            self.drive(Event::Stop);
        }
        let overdue = until.plus_ms(FENCE_STOP_MS) <= boot_now();
        if overdue || self.machine.state().settled() {
            processes::signal_descendants(std::process::id(), 9);
        }
    }
}
