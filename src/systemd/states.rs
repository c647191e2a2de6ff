//! Reading the states of units, where signals cannot tell them.

use zbus::{Message, OwnedObjectPath};

use super::board::Seen;
use super::bus;
use super::caller::Caller;
use super::shared::{Shared, Stamp};
use super::timer;
use crate::fleet::executor::ActiveState;

/// One row of `ListUnitsByNames`: name, description, load, active, sub, followed unit, path, and the unit's job.
type Row = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

/// The answer of `ListUnitsByNames`.
pub fn rows(answer: &Message) -> zbus::Result<Vec<(String, ActiveState)>> {
    let rows: Vec<Row> = answer.body().deserialize()?;
    Ok(rows
        .into_iter()
        .map(|row| (row.0, ActiveState { load: row.2, active: row.3, sub: row.4, ..ActiveState::default() }))
        .collect())
}

impl Shared {
    /// Asks systemd for the states of `names`, and takes them down on the board.
    pub async fn read_states(&self, caller: &Caller, names: &[String]) -> zbus::Result<Vec<(String, ActiveState)>> {
        let answer = caller.list_units(names).await?;
        let mut states = rows(&answer)?;
        timer::read_all(&mut states, |name| caller.property(name, bus::TIMER, timer::LAST_TRIGGER)).await;
        let stamp = Stamp { connection: caller.number, position: answer.recv_position() };
        self.take_down(&states, stamp);
        Ok(states)
    }

    /// Takes down on the board what an answer at `stamp` says.
    pub fn take_down(&self, states: &[(String, ActiveState)], stamp: Stamp) {
        self.update(|board| {
            for (name, state) in states {
                board.observe(name, Seen::whole(state.clone()), stamp);
            }
        });
    }
}

/// Whether there is nothing of the unit that runs.
pub fn at_rest(state: &ActiveState) -> bool {
    matches!(state.active.as_str(), "inactive" | "failed")
}
