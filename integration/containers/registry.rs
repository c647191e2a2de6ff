//! A registry whose connections break in the midst of a layer: the pull fails aloud, is tried again, and succeeds once they hold. And
//! names that no registry can have.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::engine::{Engine, Kind};
use crate::world::{SLEEP, World, unit};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// One image of one layer, by the paths at which a registry has its parts: the type and the bytes of each.
struct Registry {
    parts: Vec<(String, &'static str, Vec<u8>)>,
    /// Whether connections hold until a layer has been read.
    holds: AtomicBool,
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

impl Registry {
    /// Serves `web:1` made of this layer, an archive, at the address that is returned.
    fn serve(layer: Vec<u8>) -> (Arc<Self>, String) {
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        });
        let config = config.to_string().into_bytes();
        let part = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "size": bytes.len(), "digest": digest(bytes)});
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": part("application/vnd.docker.container.image.v1+json", &config),
            "layers": [part("application/vnd.docker.image.rootfs.diff.tar", &layer)],
        });
        let manifest = manifest.to_string().into_bytes();
        let parts = vec![
            ("/v2/".to_owned(), "application/json", b"{}".to_vec()),
            ("/v2/web/manifests/1".to_owned(), MANIFEST, manifest.clone()),
            (format!("/v2/web/manifests/{}", digest(&manifest)), MANIFEST, manifest),
            (format!("/v2/web/blobs/{}", digest(&config)), "application/octet-stream", config),
            (format!("/v2/web/blobs/{}", digest(&layer)), "application/octet-stream", layer),
        ];
        let registry = Arc::new(Self { parts, holds: AtomicBool::new(false) });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let served = registry.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let registry = served.clone();
                // Who hangs up is served no more.
                std::thread::spawn(move || drop(registry.answer(connection)));
            }
        });
        (registry, address)
    }

    /// Answers one request; the connection ends with it.
    fn answer(&self, connection: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(connection.try_clone()?).lines();
        let request = lines.next().transpose()?.unwrap_or_default();
        while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
        let mut to = connection;
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let Some((_, kind, bytes)) = self.parts.iter().find(|(at, _, _)| at == path) else {
            return write!(to, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        };
        write!(
            to,
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nDocker-Content-Digest: {}\r\nConnection: close\r\n\r\n",
            bytes.len(),
            digest(bytes)
        )?;
        let is_layer = self.parts.last().is_some_and(|(last, _, _)| last == path);
        let sent = if is_layer && !self.holds.load(Ordering::Relaxed) { bytes.len() / 2 } else { bytes.len() };
        if method == "HEAD" { Ok(()) } else { to.write_all(&bytes[..sent]) }
    }
}

#[test]
fn a_pull_that_breaks_off_is_told_and_tried_again() {
    let engine = Engine::start(Kind::Docker, &["--max-download-attempts=1"]);
    let layer = std::fs::read(engine.path("image.tar")).unwrap();
    let world = World::over(1, engine);
    let (registry, address) = Registry::serve(layer);
    let image = |name: &str| unit(SLEEP, "", "").replace(crate::engine::IMAGE, name);
    world.begin("web.container", &image(&format!("{address}/web:1")));
    let journal = world.wait_for_journal("web.container", "cannot be pulled", 2);
    assert!(journal.contains("tried again in 1s") && journal.contains("tried again in 2s"), "{journal}");
    registry.holds.store(true, Ordering::Relaxed);
    world.wait_for_state("web.container", "active running");

    // Names that make no sense: refused by the engine with the reason, and with growing pauses.
    for (name, nonsense) in [("case", "UPPER/Case:1"), ("signs", "a//b:::c"), ("tag", "web:not$a$tag")] {
        let unit = format!("{name}.container");
        world.begin(&unit, &image(nonsense));
        world.wait_for_state(&unit, "failed image");
        assert!(
            world.said(&["status", &unit]).contains("invalid reference format"),
            "{}",
            world.said(&["status", &unit])
        );
    }
}
