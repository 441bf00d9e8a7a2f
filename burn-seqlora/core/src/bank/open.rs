//! Opening a bank, to read it or to add to it.

use std::fs;
use std::path::Path;

use seqlora_files::{FolderLock, GuardedFolder, LOCK, is_temporary};

use super::{BANK, Bank, BankRecord, BaseModel, CHECKPOINT, CONCEPTS, basis, reserved};
use crate::error::{Error, Result};
use crate::lora::Site;

impl Bank {
    /// Opens a bank to read it; the base model is not checked.
    ///
    /// # Errors
    /// If there is none, or it is damaged or written by a newer version.
    pub fn open(path: &Path) -> Result<Self> {
        Self::read_from(GuardedFolder::new(path), None)
    }

    /// Opens a bank to read it, for use with a model.
    ///
    /// # Errors
    /// Also if it was made for another base model.
    pub fn open_for(path: &Path, base: &BaseModel) -> Result<Self> {
        let bank = Self::open(path)?;
        bank.check_base(base)?;
        Ok(bank)
    }

    /// Opens a bank to add to it, or starts one in a folder that is empty or not there.
    ///
    /// # Errors
    /// Also if another process has it open for writing, the folder holds something else, or something in
    /// the bank that would be written to is a link.
    pub fn open_or_create(path: &Path, base: &BaseModel, sites: &[Site]) -> Result<Self> {
        Self::open_or_create_in(GuardedFolder::new(path), base, sites)
    }

    /// Opens a bank to change what is in it without a model; the base model is not checked.
    ///
    /// # Errors
    /// If there is none, it is damaged or written by a newer version, another process has it open for
    /// writing, or something in the bank that would be written to is a link.
    pub fn open_to_change(path: &Path) -> Result<Self> {
        Self::open_to_change_in(GuardedFolder::new(path))
    }

    /// The same through any storage.
    pub(crate) fn open_to_change_in(folder: GuardedFolder) -> Result<Self> {
        let file = folder.path().join(BANK);
        if !file.exists() {
            return Err(Error::NoBank { path: file });
        }
        let lock = Self::lock(&folder)?;
        let mut bank = Self::read_from(folder, Some(lock))?;
        bank.clean()?;
        Ok(bank)
    }

    /// The same through any storage.
    pub(crate) fn open_or_create_in(
        folder: GuardedFolder,
        base: &BaseModel,
        sites: &[Site],
    ) -> Result<Self> {
        folder.create_folder("")?;
        let path = folder.path();
        let is_bank = || path.join(BANK).exists();
        if !is_bank() && !is_empty_but_for_ours(path)? {
            return Err(Error::NotABank { path: path.into() });
        }
        let lock = Self::lock(&folder)?;
        // Asked again: another process may have made it before the lock was ours.
        let mut bank = match is_bank() {
            true => Self::read_from(folder, Some(lock))?,
            false => {
                let record = BankRecord::new(base.clone(), sites.to_vec());
                folder.write_json(BANK, &record)?;
                Self { folder, record, _lock: Some(lock) }
            }
        };
        bank.check_base(base)?;
        bank.clean()?;
        Ok(bank)
    }

    /// Takes the lock of a folder in which nothing is a link, and removes what killed processes left.
    fn lock(folder: &GuardedFolder) -> Result<FolderLock> {
        for inside in [CONCEPTS, basis::FOLDER, reserved::FOLDER] {
            folder.check(inside)?;
        }
        let lock = FolderLock::take(folder.path())?;
        for inside in ["", basis::FOLDER, reserved::FOLDER] {
            folder.remove_temporary(inside)?;
        }
        Ok(lock)
    }

    /// Removes what finished trainings and unfinished removals have left.
    fn clean(&mut self) -> Result<()> {
        // All before the first: nothing is removed from a bank that has a link anywhere.
        for id in self.concepts().iter().chain(&self.record.leftovers) {
            self.folder.check(self.files_inside(id).join(CHECKPOINT))?;
            self.folder.check(self.checkpoint_inside(id))?;
        }
        // A finished concept's checkpoint is left over if the process ended right after listing it, as is what
        // the concept was before.
        for id in self.concepts() {
            self.remove_former(id)?;
            self.remove_finished_checkpoint(id)?;
        }
        self.remove_leftovers()?;
        // A process that ended right after listing a concept has not added it to the cache. A damaged
        // concept keeps the cache incomplete, and is told by whoever needs its directions.
        if !self.basis_cache().is_complete(&self.owners()) {
            let _ = self.directions(self.sites(), None);
        }
        Ok(())
    }

    /// A bank that is not on disk, for a dry run: nothing in the folder is touched.
    pub fn dry_run(path: &Path, base: &BaseModel, sites: &[Site]) -> Self {
        let record = BankRecord::new(base.clone(), sites.to_vec());
        Self { folder: GuardedFolder::new(path), record, _lock: None }
    }

    fn read_from(folder: GuardedFolder, lock: Option<FolderLock>) -> Result<Self> {
        let file = folder.path().join(BANK);
        if !file.exists() {
            return Err(Error::NoBank { path: file });
        }
        let record = BankRecord::read(&file)?;
        Ok(Self { folder, record, _lock: lock })
    }

    pub(super) fn check_base(&self, base: &BaseModel) -> Result<()> {
        if self.record.base.is_like(base) {
            return Ok(());
        }
        Err(Error::OtherBase {
            path: self.path().into(),
            bank: self.record.base.to_string(),
            model: base.to_string(),
        })
    }
}

/// Whether a folder holds at most what a killed process leaves before there is a `bank.json`.
fn is_empty_but_for_ours(path: &Path) -> Result<bool> {
    let entries = fs::read_dir(path).map_err(Error::io("cannot read", path))?;
    let mut names = entries.flatten().map(|entry| entry.file_name());
    Ok(names.all(|name| name == LOCK || is_temporary(&name)))
}
