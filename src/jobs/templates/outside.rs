//! What templates may ask of this machine: its environment, files, name servers and clock.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Zoned;
use tokio::runtime::Handle;

use super::load::read_limited;
use crate::base::limits::TEMPLATE_LOOKUP_MS_MAX;
use crate::confd::{Outside, SrvRecord};
use crate::net::interfaces::interface_addresses;
use crate::net::resolve::{Srv, resolve, resolve_srv};

/// This machine. Used on threads that may block, never on the runtime's own.
pub struct Machine {
    /// The runtime that waits for name servers.
    pub handle: Handle,
    /// Where included files are: the confdir's `templates`.
    pub templates: PathBuf,
}

impl Machine {
    fn ask<T: Default>(&self, question: impl Future<Output = T>) -> T {
        let limit = Duration::from_millis(TEMPLATE_LOOKUP_MS_MAX);
        self.handle.block_on(async { tokio::time::timeout(limit, question).await.unwrap_or_default() })
    }
}

impl Outside for Machine {
    fn variable(&self, name: &str) -> Option<String> {
        // A name that no variable can have is asked for by mistake, and must not end the process.
        let possible = !name.is_empty() && !name.contains(['=', '\0']);
        possible.then(|| std::env::var_os(name))?.map(|value| value.to_string_lossy().into_owned())
    }

    fn file_exists(&self, path: &str) -> bool {
        match std::fs::metadata(Path::new(path)) {
            Ok(_) => true,
            Err(error) => error.kind() != std::io::ErrorKind::NotFound,
        }
    }

    fn lookup_ip(&self, name: &str) -> Vec<String> {
        let found: Vec<IpAddr> = self.ask(async { resolve(name).await.unwrap_or_default() });
        found.iter().map(ToString::to_string).collect()
    }

    fn lookup_srv(&self, service: &str, proto: &str, name: &str) -> Vec<SrvRecord> {
        let name = if service.is_empty() && proto.is_empty() {
            name.to_owned()
        } else {
            format!("_{service}._{proto}.{name}")
        };
        let found: Vec<Srv> = self.ask(async { resolve_srv(&name).await.unwrap_or_default() });
        let record =
            |srv: Srv| SrvRecord { target: srv.target, port: srv.port, priority: srv.priority, weight: srv.weight };
        found.into_iter().map(record).collect()
    }

    fn hostname(&self) -> Result<String, String> {
        Ok(rustix::system::uname().nodename().to_string_lossy().into_owned())
    }

    fn interface_addresses(&self, name: &str) -> Vec<IpAddr> {
        interface_addresses(name).unwrap_or_default()
    }

    fn template_file(&self, path: &str) -> Result<Vec<u8>, String> {
        let file = self.templates.join(path);
        read_limited(&file).map_err(|error| match error.kind() {
            ErrorKind::NotFound => format!("open {}: no such file or directory", file.display()),
            _ => format!("open {}: {error}", file.display()),
        })
    }

    fn now(&self) -> Zoned {
        Zoned::now()
    }
}
