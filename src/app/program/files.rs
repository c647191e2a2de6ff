//! A program's files: the one that runs, the one that is to take its place, and the former one beside it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use sha2::{Digest as _, Sha256};

use crate::base::limits::{PROGRAM_ANSWER_MS_MAX, PROGRAM_BYTES_MAX};
use crate::base::with_causes;
use crate::disk;
use crate::trust::hex;
use crate::wire::program::{Refusal, Version};

/// How often a file is run again that somebody still has open for writing: a child of this process between fork and exec.
const BUSY_ATTEMPTS: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// Where a node's program lies.
#[derive(Clone, Debug)]
pub struct Files {
    /// The file by whose name the node is started.
    pub program: PathBuf,
    /// What is sent lies here until it is whole.
    staged: PathBuf,
}

impl Files {
    /// Those of the program at `program`, for the member `member`: several may share one program.
    pub fn new(program: PathBuf, member: &str) -> Self {
        let staged = beside(&program, &format!("staged-{member}"));
        Self { program, staged }
    }

    /// The former program.
    pub fn previous(&self) -> PathBuf {
        previous(&self.program)
    }

    pub fn staged(&self) -> &Path {
        &self.staged
    }

    /// Keeps a piece of the file that is to come. Blocks.
    pub fn keep(&self, offset: u64, piece: &[u8]) -> Result<(), Refusal> {
        let failed = |error: io::Error| Refusal::Failed(format!("{}: {error}", self.staged.display()));
        let end = offset.saturating_add(piece.len() as u64);
        if end > PROGRAM_BYTES_MAX {
            return Err(Refusal::Bad(format!("a program of more than {PROGRAM_BYTES_MAX} bytes is not taken")));
        }
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(offset == 0).open(&self.staged).map_err(failed)?;
        let has = file.metadata().map_err(failed)?.len();
        if has < offset {
            return Err(Refusal::Bad(format!("a piece from {offset} on, of which {has} bytes are here: begin anew")));
        }
        file.write_all_at(piece, offset).and_then(|()| file.set_len(end)).map_err(failed)
    }

    /// Has what was sent ready to run, if it is what was meant. Blocks.
    pub fn finish(&self, sha256: &str) -> Result<(), Refusal> {
        let failed = |error: io::Error| Refusal::Failed(format!("{}: {error}", self.staged.display()));
        let found = sum(&self.staged).map_err(failed)?;
        if found != sha256 {
            return Err(Refusal::Bad(format!(
                "what arrived has the SHA-256 {found} in the place of {sha256}: send it anew"
            )));
        }
        std::fs::set_permissions(&self.staged, std::fs::Permissions::from_mode(0o755)).map_err(failed)?;
        File::open(&self.staged).and_then(|file| file.sync_all()).map_err(failed)
    }

    /// Puts the staged program in the place of the one that runs, which is kept beside it. Blocks.
    pub fn replace(&self) -> Result<(), Refusal> {
        let failed = |error: io::Error| Refusal::Failed(format!("{}: {error}", self.program.display()));
        let kept = beside(&self.program, "kept");
        let _ = std::fs::remove_file(&kept);
        std::fs::hard_link(&self.program, &kept).map_err(failed)?;
        std::fs::rename(&kept, self.previous()).map_err(failed)?;
        disk::put_in_place(&self.staged, &self.program).map_err(failed)
    }

    /// Forgets what was sent.
    pub fn discard(&self) {
        let _ = std::fs::remove_file(&self.staged);
    }
}

fn beside(program: &Path, ending: &str) -> PathBuf {
    let mut name = program.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// Where the program that `program` has replaced lies.
pub fn previous(program: &Path) -> PathBuf {
    beside(program, "previous")
}

/// Has `program` and the one before it change places.
pub fn put_back(program: &Path) -> io::Result<()> {
    renameat_with(CWD, previous(program), CWD, program, RenameFlags::EXCHANGE)?;
    disk::sync_folder_of(program)
}

/// The SHA-256 of a file, in hex. Blocks.
pub fn sum(file: &Path) -> io::Result<String> {
    let (mut file, mut sum) = (File::open(file)?, Sha256::new());
    let mut piece = vec![0; 1 << 16];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hex(&sum.finalize())),
            read => sum.update(piece.get(..read).unwrap_or_default()),
        }
    }
}

/// Runs a program for its version: whether it is for this machine at all, and what it is.
pub async fn version(program: &Path) -> Result<Version, Refusal> {
    let no = |why: String| Refusal::Refused(format!("the file does not run on this machine: {why}"));
    let mut attempts = 0;
    let output = loop {
        let mut command = tokio::process::Command::new(program);
        command.args(["--version", "--json"]).stdin(Stdio::null()).kill_on_drop(true);
        let wait = Duration::from_millis(PROGRAM_ANSWER_MS_MAX);
        match tokio::time::timeout(wait, command.output()).await {
            Err(_) => return Err(no(format!("it did not tell its version within {wait:?}"))),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ExecutableFileBusy && attempts < BUSY_ATTEMPTS => {
                attempts += 1;
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            Ok(Err(error)) => return Err(no(with_causes(&error))),
            Ok(Ok(output)) => break output,
        }
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(no(format!("`--version` ended with {}: {}", output.status, said.trim())));
    }
    serde_json::from_slice::<Version>(&output.stdout).ok().filter(|found| found.format > 0).ok_or_else(|| {
        Refusal::Refused(
            "the file does not tell the format of its data: it is no node, or one from before there were upgrades"
                .to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn files() -> (tempfile::TempDir, Files) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("node");
        std::fs::write(&program, "old").unwrap();
        (folder, Files::new(program, "1a"))
    }

    #[test]
    fn a_program_comes_in_pieces_and_only_whole_takes_its_place() {
        let (_folder, files) = files();
        files.keep(0, b"ne").unwrap();
        assert!(matches!(files.keep(3, b"w"), Err(Refusal::Bad(_))));
        // A piece that is sent again changes nothing.
        files.keep(2, b"w").unwrap();
        files.keep(2, b"w").unwrap();
        assert!(matches!(files.finish("00"), Err(Refusal::Bad(_))));
        files.finish(&hex(&Sha256::digest(b"new"))).unwrap();
        files.replace().unwrap();
        let read = |file: &Path| std::fs::read_to_string(file).unwrap();
        assert_eq!((read(&files.program), read(&files.previous())), ("new".to_owned(), "old".to_owned()));
        assert_eq!(files.program.metadata().unwrap().permissions().mode() & 0o777, 0o755);
        put_back(&files.program).unwrap();
        assert_eq!((read(&files.program), read(&files.previous())), ("old".to_owned(), "new".to_owned()));
        assert!(matches!(files.keep(PROGRAM_BYTES_MAX, b"x"), Err(Refusal::Bad(_))));
    }

    #[tokio::test]
    async fn what_is_no_node_is_refused() {
        let (_folder, files) = files();
        let cases = [
            ("#!/bin/sh\nexit 3\n", "ended with exit status: 3"),
            ("#!/bin/sh\necho node 0.1.0\n", "does not tell the format"),
            ("not for this machine", "does not run on this machine"),
        ];
        for (text, expected) in cases {
            files.keep(0, text.as_bytes()).unwrap();
            files.finish(&hex(&Sha256::digest(text))).unwrap();
            let refusal = version(files.staged()).await.unwrap_err();
            assert!(refusal.to_string().contains(expected), "{text:?}: {refusal}");
        }
    }
}
