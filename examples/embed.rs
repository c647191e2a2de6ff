//! A program with a node inside: it starts one, writes a key and watches it change.
//!
//! `cargo run --example embed`

use anyhow::Context as _;
use corenode::Node;
use corenode::kv::{Op, WatchRequest};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("corenode-embed-{}", std::process::id()));
    let settings = corenode::Settings::from_pairs(&[
        ("name", "embedded"),
        ("data_dir", &folder.to_string_lossy()),
        // Port 0: whatever is free. The node serves clients of its own accord; the program needs none of them.
        ("client.listen", "127.0.0.1:0"),
        ("peer.listen", "127.0.0.1:0"),
        ("client.socket", ""),
        ("fleet.enabled", "false"),
        ("template.enabled", "false"),
    ])?;
    let node = Node::start(settings).await?;
    node.serves().await;

    let store = node.store();
    let watch = WatchRequest { key: "greeting".into(), ..WatchRequest::default() };
    let mut changes = store.watch(watch).await.context("watching")?;
    let written = store.write(Op::put("greeting", "hello from inside")).await.context("writing")?;
    println!("wrote at revision {}", written.position.revision);
    for event in changes.next().await?.events {
        println!("saw {} = {}", String::from_utf8_lossy(&event.kv.key), String::from_utf8_lossy(&event.kv.value));
    }

    node.stop(corenode::Teardown::KeepUnits).await;
    std::fs::remove_dir_all(folder).context("removing the data")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_example_runs() {
        super::main().expect("the node starts, is written to and stops");
    }
}
