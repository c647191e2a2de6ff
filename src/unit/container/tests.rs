//! Each key with what it gives and what it refuses.

#![allow(clippy::unwrap_used)]

use super::*;

fn unit(lines: &str) -> Result<Container, ContainerError> {
    let text = UnitText::parse(&format!("[Container]\nImage=web:1\n{lines}")).unwrap();
    read_anywhere(&text, "web@8.container")
}

#[test]
fn the_least_there_is() {
    let least = unit("").unwrap();
    assert_eq!((least.image.as_str(), least.name.as_str(), least.stop_timeout_s), ("web:1", "systemd-web_8", 10));
    let text = UnitText::parse("[Service]\nRestart=no").unwrap();
    assert_eq!(read_anywhere(&text, "a.container"), Err(ContainerError::NoSection));
    let text = UnitText::parse("[Container]\nExec=x").unwrap();
    assert_eq!(read_anywhere(&text, "a.container"), Err(ContainerError::NoImage));
}
