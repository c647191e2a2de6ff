//! In the place of `program`: without doors nobody can ask a node to run another one.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use super::settings::Settings;
use crate::raft::RaftStore;

/// There is none.
pub struct Program(Infallible);

impl Program {
    pub fn of_this_process(_settings: &Settings) -> io::Result<Option<Arc<Self>>> {
        Ok(None)
    }

    pub fn attach(&self, _store: &Arc<RaftStore>, _machine: Option<String>) {
        match self.0 {}
    }

    pub async fn restart_asked(&self) {
        match self.0 {}
    }

    pub async fn serves(&self) -> Infallible {
        match self.0 {}
    }

    pub fn go_on(&self) -> io::Error {
        match self.0 {}
    }
}
