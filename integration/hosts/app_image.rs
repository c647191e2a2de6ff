//! The container image of the walk-through: a web server that answers "Hello World", made here since no registry is asked.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::command;

/// The name under which units run the image.
pub const NAME: &str = "wtfleming/docker-compojure-hello-world";
/// Where a host keeps the image's files before its engine imports them.
pub const ARCHIVE: &str = "/opt/hello-world.tar";
/// The one program in the image; statically linked, from the package busybox-static.
const BUSYBOX: &str = "/bin/busybox";
/// The command with which a host's engine takes the image from the archive.
pub const IMPORT: [&str; 6] = ["docker", "import", "-c", r#"ENTRYPOINT ["/bin/sh", "/serve"]"#, ARCHIVE, NAME];
const TAR_BOUND: Duration = Duration::from_secs(60);

/// Serves on $PORT. Ends on SIGTERM with 143, as a program on a JVM does: systemd calls a unit that ends so failed.
const SERVE: &str = r#"#!/bin/sh
trap 'kill $!; exit 143' TERM INT
/bin/busybox httpd -f -p "${PORT:-5000}" -h /www &
echo "listening on port ${PORT:-5000}"
wait $!
"#;

/// Writes the image's files to the archive at `path`.
pub fn write_archive(path: &Path) -> Result<()> {
    let root = tempfile::tempdir().context("make a temporary folder")?;
    let root = root.path();
    fs::create_dir_all(root.join("bin"))?;
    fs::create_dir_all(root.join("www"))?;
    fs::copy(BUSYBOX, root.join("bin/busybox")).with_context(|| format!("copy {BUSYBOX} for the web server"))?;
    symlink("busybox", root.join("bin/sh"))?;
    fs::write(root.join("serve"), SERVE)?;
    fs::write(root.join("www/index.html"), "Hello World\n")?;
    let archive = path.to_string_lossy();
    let from = root.to_string_lossy();
    command::run(&["tar", "-C", &from, "-cf", &archive, "bin", "serve", "www"], None, TAR_BOUND)?.ok().map(drop)
}
