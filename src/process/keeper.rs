//! One task for each unit: keeps the link to its shim, so that a slow or dead shim delays nobody else.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::link::Link;
use super::output::now;
use super::processes;
use super::protocol::{Order, Push, Report, loaded};
use super::store::UnitDir;
use crate::base::BootMillis;
use crate::base::limits::{SHIM_ANSWER_MS_MAX, SHIM_ATTEMPTS_MAX};

/// What the executor wants of a unit's shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Of an exclusive unit: how long it may run.
    Start(Option<BootMillis>),
    Stop,
    Reload,
    Signal(i32),
    /// An exclusive unit may run for longer.
    Until(BootMillis),
    /// Tell when the journal grows, or do not any more.
    Follow(bool),
    /// The unit is forgotten: the shim ends, whatever processes are left.
    /// With `sweep` they are killed.
    Leave {
        sweep: bool,
    },
}

/// Whom the keeper tells.
pub trait Listener: Send + Sync + 'static {
    fn reported(&self, name: &str, report: Report);
    fn journal_grew(&self, name: &str);
}

/// A unit's keeper.
pub struct Keeper<L> {
    pub name: String,
    pub dir: UnitDir,
    pub shim: Arc<[PathBuf]>,
    pub listener: Arc<L>,
    pub last: Report,
    pub follow: bool,
    /// How long the unit may run, as told last; `None`: it is not exclusive.
    pub until: Option<BootMillis>,
    /// How often a start was given to a new shim because the one before ended without taking it.
    pub retries: usize,
}

impl<L: Listener> Keeper<L> {
    /// Serves wishes until the executor drops their sender. The shim lives on.
    pub async fn run(mut self, mut wishes: mpsc::Receiver<Wish>, mut link: Option<Link>) {
        loop {
            let wish = match &mut link {
                None => wishes.recv().await.map(Heard::Wish),
                Some(link) => {
                    let overdue = link.overdue();
                    tokio::select! {
                        wish = wishes.recv() => wish.map(Heard::Wish),
                        push = link.hear() => Some(Heard::Push(push)),
                        () = sleep_until(overdue), if overdue.is_some() => Some(Heard::Nothing),
                    }
                }
            };
            match wish {
                None => return,
                Some(Heard::Wish(wish)) => link = self.grant(wish, link).await,
                Some(Heard::Push(Some(push))) => self.heard(push),
                Some(Heard::Push(None)) => link = self.lost(link).await,
                Some(Heard::Nothing) => {
                    // It may be held up with the whole machine: ending it would end its unit.
                    tracing::error!(unit = self.name, "the shim of a unit does not take an order: is it stopped?");
                    if let Some(link) = &mut link {
                        link.warned();
                    }
                }
            }
        }
    }

    async fn grant(&mut self, wish: Wish, link: Option<Link>) -> Option<Link> {
        match (wish, link) {
            (Wish::Start(until), link) => {
                self.until = until;
                self.retries = 0;
                self.start(link).await
            }
            (Wish::Stop, Some(mut link)) => {
                // Where this fails the shim is gone, which is noticed at the next reading.
                let _ = link.order(|id| Order::Stop { id }).await;
                Some(link)
            }
            (Wish::Reload, Some(mut link)) => {
                let _ = link.order(|id| Order::Reload { id }).await;
                Some(link)
            }
            (Wish::Signal(number), Some(mut link)) => {
                let _ = link.order(|id| Order::Signal { id, number }).await;
                Some(link)
            }
            (Wish::Signal(_), None) => None,
            (Wish::Stop | Wish::Reload, None) => {
                // No shim, nothing that runs: told again, for whoever waits for it.
                self.listener.reported(&self.name, self.last.clone());
                None
            }
            (Wish::Until(until), mut link) => {
                self.until = Some(until);
                if let Some(link) = &mut link {
                    let _ = link.send(&Order::Until { until }).await;
                }
                link
            }
            (Wish::Follow(on), mut link) => {
                self.follow = on;
                if let Some(link) = &mut link {
                    let _ = link.send(&Order::Follow { on }).await;
                }
                link
            }
            (Wish::Leave { sweep }, Some(link)) => {
                farewell(link, sweep).await;
                None
            }
            (Wish::Leave { .. }, None) => None,
        }
    }

    async fn start(&mut self, link: Option<Link>) -> Option<Link> {
        let opened = match link {
            Some(link) => Ok(link),
            None => Link::open(&self.dir, &self.shim).await,
        };
        match opened {
            Ok(mut link) => {
                if self.follow {
                    let _ = link.send(&Order::Follow { on: true }).await;
                }
                let until = self.until;
                let _ = link.order(|id| Order::Start { id, until }).await;
                Some(link)
            }
            Err(error) => {
                tracing::error!(unit = self.name, %error, "cannot start the shim of a unit");
                self.down(&format!("its shim cannot be started: {error}"));
                None
            }
        }
    }

    fn heard(&mut self, push: Push) {
        match push {
            Push::Report(report) => {
                self.last = (*report).clone();
                self.listener.reported(&self.name, *report);
            }
            Push::Output => self.listener.journal_grew(&self.name),
            Push::Taken { .. } => {}
        }
    }

    /// The shim has ended. An order to start that it did not take goes to a new one.
    async fn lost(&mut self, link: Option<Link>) -> Option<Link> {
        let again = link.is_some_and(|link| link.unanswered().any(|order| matches!(order, Order::Start { .. })));
        // What it last wrote may be newer than what it could still say.
        if let Some(report) = self.dir.read_report().filter(|kept| kept.run >= self.last.run) {
            self.last = report;
        }
        self.listener.journal_grew(&self.name);
        if !self.last.settled() {
            tracing::error!(unit = self.name, "the shim of a unit was killed");
            bury(&mut self.last);
            let _ = self.dir.write_report(&self.last);
        }
        self.listener.reported(&self.name, self.last.clone());
        if !again {
            return None;
        }
        self.retries += 1;
        if self.retries > SHIM_ATTEMPTS_MAX {
            self.down("its shim ends again and again before it takes the order to start");
            return None;
        }
        self.start(None).await
    }

    /// The unit could not even be tried.
    fn down(&mut self, why: &str) {
        self.last.state = loaded("failed", "failed");
        self.last.result = "resources".to_owned();
        self.last.status_text = why.to_owned();
        self.last.since = now();
        self.last.run += 1;
        let _ = self.dir.write_report(&self.last);
        self.listener.reported(&self.name, self.last.clone());
    }
}

/// Tells a shim to end and waits until it has.
async fn farewell(mut link: Link, sweep: bool) {
    let end = async {
        // Where this fails it has ended already.
        let _ = link.send(&Order::Leave { sweep }).await;
        while link.hear().await.is_some() {}
    };
    let limit = Duration::from_millis(SHIM_ANSWER_MS_MAX);
    if tokio::time::timeout(limit, end).await.is_err() {
        tracing::warn!(?limit, "the shim of a forgotten unit does not end");
    }
}

enum Heard {
    Wish(Wish),
    Push(Option<Push>),
    /// No answer to an order, for too long.
    Nothing,
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// What is to be done for a unit whose shim was killed: nobody watches over its processes any more, so they end,
/// and the unit has failed.
pub fn bury(report: &mut Report) {
    for pid in processes::of_invocation(&report.invocation) {
        processes::signal(pid, 9);
    }
    report.state = loaded("failed", "failed");
    report.result = "resources".to_owned();
    report.status_text = "Its shim was killed".to_owned();
    report.main_pid = None;
    report.since = now();
}
