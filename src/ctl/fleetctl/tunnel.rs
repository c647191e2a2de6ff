//! `--tunnel`: the endpoint through another host. The system's ssh forwards a unix socket here to the endpoint there; it
//! goes to the background once the socket listens, and is told to end when the command is done.

use tempfile::TempDir;

use super::remote;
use crate::ctl::args::Parsed;
use crate::net::Address;

/// A running forward.
pub struct Tunnel {
    folder: TempDir,
    host: String,
}

impl Tunnel {
    /// Has ssh forward to `endpoint` as the bastion sees it.
    pub async fn open(parsed: &Parsed, endpoint: &Address) -> Result<Self, String> {
        let failed = |error: String| format!("failed initializing SSH client: {error}");
        let folder =
            tempfile::Builder::new().prefix("fleetctl-").tempdir().map_err(|error| failed(error.to_string()))?;
        let bastion = parsed.value("tunnel").unwrap_or_default();
        let (host, port) = bastion.rsplit_once(':').unwrap_or((bastion, "22"));
        let tunnel = Self { folder, host: host.to_owned() };
        let target = match endpoint {
            Address::Unix(path) => path.display().to_string(),
            Address::Tcp { .. } => endpoint.to_string(),
            Address::Tls { .. } => {
                return Err(failed(format!(
                    "{endpoint}: ssh secures the way already; give an endpoint in plain text there"
                )));
            }
        };
        let mut arguments = remote::ssh_options(parsed).map_err(|error| error.message)?;
        arguments.extend(["-o".to_owned(), "ExitOnForwardFailure=yes".to_owned()]);
        arguments.extend(["-p".to_owned(), port.to_owned(), "-f".to_owned(), "-N".to_owned(), "-M".to_owned()]);
        arguments.extend(["-S".to_owned(), tunnel.path("control")]);
        arguments.extend(["-L".to_owned(), format!("{}:{target}", tunnel.path("socket"))]);
        arguments.push(tunnel.host.clone());
        remote::quietly("ssh", &arguments).await.map_err(failed)?;
        Ok(tunnel)
    }

    /// Where the endpoint is now.
    pub fn address(&self) -> Address {
        Address::Unix(self.path("socket").into())
    }

    /// Tells ssh to end.
    pub async fn close(&self) {
        let arguments = ["-S", &self.path("control"), "-O", "exit", &self.host].map(str::to_owned);
        // It prints that it ends, and whatever goes wrong now changes nothing any more.
        let _ = tokio::process::Command::new("ssh").args(arguments).stderr(std::process::Stdio::null()).status().await;
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}
