//! Disks that fill up: the error names the file, the bank stays as it was, and a later run
//! goes on.
//!
//! A limit on the size of files is available everywhere; a small file system only where this user
//! may mount one in a namespace of his own. Where he may not, the test fails, unless `SEQLORA_NO_MOUNT`
//! is set to leave it out.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::harness::{Learnt, Project};
use crate::run::Run;

/// Runs a command that cannot make files larger than this.
fn with_file_limit(kib: usize, command: &Command) -> Run {
    let mut limited = Command::new("bash");
    // Without a handler the signal would end the program before it sees the error.
    limited.arg("-c").arg(format!("ulimit -f {kib}; trap '' XFSZ; exec \"$0\" \"$@\""));
    limited.arg(command.get_program()).args(command.get_args());
    limited.current_dir(command.get_current_dir().expect("the project's"));
    Run::of(limited)
}

/// The bank of the first two of three concepts that were learnt without trouble.
#[track_caller]
fn assert_first_two(project: &Project) {
    let (bank, whole) = (project.bank(), &Learnt::three().bank);
    assert_eq!(project.ids(), ["cat", "dog"]);
    for id in ["cat", "dog"] {
        let folder = format!("concepts/{id}");
        bank.under(&folder).assert_same(&whole.under(&folder));
    }
}

/// A file that may not grow: first the checkpoint's, then the adapter's.
#[test]
fn a_file_limit_leaves_the_bank_intact() {
    let project = Project::new(&["cat", "dog"]);
    project.learn("photos", "").succeeds();
    crate::images::write_photos(&project.path("photos/mug"), "mug");
    for (kib, options, file) in [
        (64, "--save-every 2", "concepts/mug/checkpoint/state-0.safetensors"),
        (24, "", "concepts/mug/adapter.safetensors"),
    ] {
        let learn = project.learn_command("photos/mug", options);
        with_file_limit(kib, &learn).fails(1, &["cannot write", file, "File too large"]);
        assert_first_two(&project);
    }
    project.learn("photos", "--resume").succeeds();
    project.bank().assert_same(&Learnt::three().bank);
}

/// A file system in memory that only this process and the programs it runs can see.
#[derive(Debug)]
struct SmallDisk {
    /// It exists as long as this process does.
    holder: Child,
}

impl SmallDisk {
    /// `None` if this user may not mount, and said so.
    ///
    /// # Panics
    /// If he did not.
    fn mount(folder: &Path, kib: usize) -> Option<Self> {
        let disk = Self::try_mount(folder, kib);
        let is_allowed = disk.is_some() || std::env::var_os("SEQLORA_NO_MOUNT").is_some();
        assert!(is_allowed, "this user may not mount; SEQLORA_NO_MOUNT=1 leaves this test out");
        disk
    }

    fn try_mount(folder: &Path, kib: usize) -> Option<Self> {
        let script = format!("mount -t tmpfs -o size={kib}k tmpfs \"$0\" && echo mounted && read");
        let mut unshare = Command::new("unshare");
        unshare.args(["--map-root-user", "--mount", "bash", "-c", &script]).arg(folder);
        unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut disk = Self { holder: unshare.spawn().ok()? };
        let mut said = [0; 8];
        disk.holder.stdout.as_mut()?.read_exact(&mut said).ok()?;
        Some(disk)
    }

    /// How others reach a path as its processes see it.
    fn path(&self, inside: &Path) -> PathBuf {
        let root = format!("/proc/{}/root", self.holder.id());
        Path::new(&root).join(inside.strip_prefix("/").expect("an absolute path"))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Fills a disk with a file, but for so many bytes.
fn fill(file: &Path, left: u64) {
    let mut filler = File::create(file).unwrap();
    while filler.write_all(&[1; 4096]).is_ok() {}
    let length = filler.metadata().unwrap().len();
    filler.set_len(length - left).unwrap();
}

/// A disk without room: for latents, for a checkpoint, for images.
#[test]
fn a_full_disk_leaves_the_bank_intact() {
    let project = Project::new(&["cat", "dog"]);
    let folder = project.path("disk");
    fs::create_dir(&folder).unwrap();
    let Some(disk) = SmallDisk::mount(&folder, 1024) else {
        return eprintln!("not run: SEQLORA_NO_MOUNT is set");
    };
    let folder = disk.path(&folder);
    std::os::unix::fs::symlink(folder.join("bank"), project.path("bank")).unwrap();
    fs::create_dir(folder.join("bank")).unwrap();
    project.learn("photos", "").succeeds();
    crate::images::write_photos(&project.path("photos/mug"), "mug");

    let filler = folder.join("filler");
    let full = "No space left on device";
    for (left, file) in [(0, "latents.bin"), (64 << 10, "state-0.safetensors")] {
        fill(&filler, left);
        let file = format!("cannot write bank/concepts/mug/checkpoint/{file}");
        project.learn("photos/mug", "--save-every 2").fails(1, &[&file, full]);
        assert_first_two(&project);
    }
    fill(&filler, 0);
    let out = folder.join("out");
    fs::create_dir(&out).unwrap();
    let options = format!("--bank bank --out {}", out.display());
    project.generate("<dog>", &options).fails(1, &["cannot write", "out/00000.png", full]);
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0, "no half of an image is left");

    fs::remove_file(filler).unwrap();
    project.learn("photos", "--resume").succeeds();
    project.bank().assert_same(&Learnt::three().bank);
}
