//! Concepts that several workers learn, each in a subspace of its own, and their banks merged.

use std::fs;
use std::path::{Path, PathBuf};

use super::Variant;
use super::learnt::Learnt;
use crate::failure::Failure;
use crate::finished_demo::{FinishedDemo, write_manifest};
use crate::program::Program;

/// Learns the concepts of a demo with its settings, but those of the variant, as far as that is not done yet; the
/// merged bank. Workers run one after the other, so that each has the whole machine.
///
/// # Errors
/// If the program fails, or the folder holds something else.
pub fn learn(
    program: &Program,
    folder: &Path,
    variant: &Variant,
    demo: &FinishedDemo,
    seed: u64,
) -> Result<(PathBuf, Learnt), Failure> {
    fs::create_dir_all(folder)?;
    let (manifest, config) = (folder.join("concepts.toml"), folder.join("settings.toml"));
    let concepts = demo.concepts()?;
    write_manifest(&manifest, concepts.iter())?;
    let mut settings = demo.settings()?;
    settings.extend(variant.settings.clone());
    fs::write(&config, toml::to_string(&settings)?)?;
    let (mut banks, mut took) = (Vec::new(), Vec::new());
    for worker in 1..=variant.workers {
        let bank = folder.join(format!("bank-{worker}"));
        let mut command = program.command("learn");
        command.arg(&manifest).args(["--model", "builtin", "--method", &variant.method]);
        command.args(["--seed", &seed.to_string(), "--config"]).arg(&config);
        command.args(["--shard", &format!("{worker}/{}", variant.workers)]);
        command.arg("--bank").arg(&bank);
        let measured = program.run_once_into(command, &bank)?;
        let count = concepts.iter().skip(worker - 1).step_by(variant.workers).count();
        took.push((measured, count));
        banks.push(bank);
    }
    let merged = folder.join("bank");
    let mut command = program.command("bank");
    command.arg("merge").args(&banks).arg("--out").arg(&merged);
    program.run_once_into(command, &merged)?;
    let learnt = Learnt::of_workers(&merged, &took)?;
    Ok((merged, learnt))
}
