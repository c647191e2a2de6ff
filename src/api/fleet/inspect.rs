//! Status and journal of a unit, asked of the machine that holds it; of a global unit, of all of them in turn.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use hyper::header;

use super::model::Status;
use super::query::Query;
use super::{Api, Failure, ok};
use crate::base::{MachineId, UnixMillis};
use crate::fleet::Cluster;
use crate::fleet::executor::{JournalQuery, JournalStream};
use crate::fleet::inspect::InspectError;

/// A machine that holds a unit, and how it is called in headings.
pub(super) struct Holder {
    pub id: MachineId,
    legend: String,
}

impl Api {
    /// `GET status/NAME`
    pub(super) async fn status(&self, name: &str, query: &Query) -> Result<Response, Failure> {
        let holders = self.holders(name, query).await?;
        let several = holders.len() > 1;
        let mut whole = Status::default();
        for (index, holder) in holders.iter().enumerate() {
            let status = match self.inspector.status(&holder.id, name).await {
                Ok(status) => status,
                // One machine that does not answer must not hide what the others say.
                Err(error) if several => unanswered(&error),
                Err(error) => return Err(error.into()),
            };
            if several {
                whole.text.push_str(&heading(index, holder));
            } else {
                whole.machine_id.clone_from(&holder.id.0);
            }
            whole.text.push_str(&status.text);
            if whole.exit_code == 0 {
                whole.exit_code = status.exit_code;
            }
        }
        Ok(ok(&whole))
    }

    /// `GET journal/NAME`
    pub(super) async fn journal(self: &Arc<Self>, name: &str, query: &Query) -> Result<Response, Failure> {
        let asked = JournalQuery {
            lines: query.number("lines")?,
            since: query.number("since")?.map(|ms| UnixMillis(i64::try_from(ms).unwrap_or(i64::MAX))),
            follow: query.truth("follow"),
            output: query.value("output").unwrap_or("short").to_owned(),
        };
        let holders = self.holders(name, query).await?;
        let several = holders.len() > 1;
        let mut sources: Vec<BoxStream<'static, (usize, Bytes)>> = Vec::new();
        let mut legends = Vec::new();
        for (index, holder) in holders.into_iter().enumerate() {
            let journal = match self.inspector.journal(&holder.id, name, asked.clone()).await {
                Ok(journal) => chunks(journal).boxed(),
                Err(error) if several => stream::iter([broken_off(&error)]).boxed(),
                Err(error) => return Err(error.into()),
            };
            sources.push(journal.map(move |chunk| (index, chunk)).boxed());
            legends.push(holder);
        }
        let merged =
            if asked.follow { stream::select_all(sources).boxed() } else { stream::iter(sources).flatten().boxed() };
        let mut last = None;
        let headed = merged.map(move |(index, chunk)| {
            let turns = several && last != Some(index);
            let head = if turns { heading(usize::from(last.is_some()), &legends[index]) } else { String::new() };
            last = Some(index);
            Ok::<_, std::convert::Infallible>(Bytes::from([head.as_bytes(), &chunk].concat()))
        });
        let stopped = self.stop.clone().cancelled_owned();
        let kind = (header::CONTENT_TYPE, "text/plain; charset=utf-8");
        Ok(([kind], Body::from_stream(headed.take_until(stopped))).into_response())
    }

    /// The machine that is asked for, or those that hold the unit.
    pub(super) async fn holders(&self, name: &str, query: &Query) -> Result<Vec<Holder>, Failure> {
        let asked = query.value("machine").map(|id| MachineId(id.to_owned()));
        let holders = self.view.read(|cluster| holders(cluster, name, asked)).await?.ok_or_else(Failure::no_unit)?;
        if holders.is_empty() {
            return Err(Failure::NotFound(format!("unit {name} is on no machine")));
        }
        Ok(holders)
    }
}

fn holders(cluster: &Cluster, name: &str, asked: Option<MachineId>) -> Option<Vec<Holder>> {
    let legend = |id: &MachineId| match cluster.machines.get(id).filter(|machine| !machine.primary_ip.is_empty()) {
        Some(machine) => format!("{}/{}", id.short(), machine.primary_ip),
        None => id.short(),
    };
    let holder = |id: &MachineId| Holder { id: id.clone(), legend: legend(id) };
    if let Some(id) = asked {
        return Some(vec![holder(&id)]);
    }
    let states = cluster.states.get(name);
    let held_by = || states.into_iter().flat_map(|on| on.keys()).map(holder).collect();
    match cluster.units.get(name) {
        Some(unit) if unit.requirements.global => Some(held_by()),
        Some(_) => Some(cluster.schedule.get(name).map(|at| holder(&at.machine)).into_iter().collect()),
        // Destroyed, and not yet stopped.
        None => states.map(|_| held_by()),
    }
}

fn heading(index: usize, holder: &Holder) -> String {
    let gap = if index == 0 { "" } else { "\n" };
    format!("{gap}==> {} <==\n", holder.legend)
}

fn unanswered(error: &InspectError) -> crate::fleet::executor::StatusText {
    crate::fleet::executor::StatusText { text: format!("{error}\n"), exit_code: 1 }
}

/// The last line of a journal that could not be read on.
fn broken_off(error: &dyn std::fmt::Display) -> Bytes {
    Bytes::from(format!("-- {error} --\n"))
}

fn chunks(journal: Box<dyn JournalStream>) -> impl stream::Stream<Item = Bytes> + Send {
    stream::unfold(Some(journal), async |journal| {
        let mut journal = journal?;
        match journal.next().await? {
            Ok(chunk) => Some((Bytes::from(chunk), Some(journal))),
            Err(error) => Some((broken_off(&error), None)),
        }
    })
}
