//! `node manual DIR`, which packages are made with: man pages and completions of shells, from what `--help` of every command of
//! this binary prints. So they tell what the binary tells, and are not kept anywhere.

mod complete;
mod pages;
mod roff;

use std::path::Path;

use anyhow::Context as _;

use pages::{PAGES, Tree};

/// Writes `man/` and `completions/` into a folder: 0, 2 for a command line that cannot be understood.
///
/// # Errors
/// A command of this binary that gives no help, or a file that cannot be written.
pub fn run(arguments: &[String]) -> anyhow::Result<u8> {
    let [folder] = arguments else {
        eprintln!("node manual: it takes the folder to write to");
        return Ok(2);
    };
    let folder = Path::new(folder);
    let program = std::env::current_exe().context("finding this binary")?;
    for page in PAGES {
        let text = roff::page(page, &pages::help(&program, page.words)?);
        write(&folder.join("man").join(page.file()), &text)?;
    }
    let settings = pages::help(&program, &["config", "check"])?;
    write(&folder.join("man/node.toml.5"), &roff::settings(&settings))?;
    for name in pages::programs() {
        let tree = Tree::of(&program, name)?;
        for (place, text) in [
            (format!("bash/{name}"), complete::bash(name, &tree)),
            (format!("zsh/_{name}"), complete::zsh(name, &tree)),
            (format!("fish/{name}.fish"), complete::fish(name, &tree)),
        ] {
            write(&folder.join("completions").join(place), &text)?;
        }
    }
    Ok(0)
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let writing = || format!("writing {}", file.display());
    let folder = file.parent().with_context(writing)?;
    std::fs::create_dir_all(folder).and_then(|()| std::fs::write(file, text)).with_context(writing)
}
