//! What `fuse` writes: its result, and the statistics of an unfinished one.

use std::fs;
use std::path::Path;

use seqlora_core::bank::Bank;
use seqlora_core::compose::Member;
use seqlora_core::fusion::{FusedOrigin, GramSource, StatisticsFolder, read_fused, write_fused};
use seqlora_core::lora::{ActivationStatistics, Gram, PatchSet, StoredFactors, WeightPatch};

use super::bank::{bank, sites};
use crate::input::File;
use crate::target::{Target, files_of, holds};

/// The file of weights, and a folder with a concept's inputs of a layer.
pub const FUSION: Target = Target { name: "fusion", files, read };

const FILE: &str = "fused.safetensors";

fn files() -> Vec<File> {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in bank("bank.json") {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("it lies in the folder")).expect("a folder");
        fs::write(path, content).expect("a file");
    }
    let bank = Bank::open(folder.path()).expect("a good bank");
    let origin = FusedOrigin::new("sum", &bank, &[Member::new("cat")], None).expect("it is there");
    let fused = tempfile::tempdir().expect("a folder");
    write_fused(&fused.path().join(FILE), &patches(), &origin).expect("a file");
    let gram = Gram { rows: 3, inputs: 6, values: vec![0.5; 36], kept: vec![0.5; 6] };
    let statistics = ActivationStatistics([(sites()[0].name.clone(), gram)].into());
    fs::create_dir(fused.path().join("inputs")).expect("a folder");
    StatisticsFolder::new(fused.path().join("inputs")).write("cat", statistics).expect("files");
    files_of(fused.path(), FILE)
}

fn patches() -> PatchSet {
    let dense = WeightPatch::Dense { outputs: 5, inputs: 6, values: vec![0.5; 30] };
    let factors = StoredFactors { rank: 1, up: vec![0.5; 5], down: vec![0.5; 6] };
    let [first, second] = [0, 1].map(|number| sites()[number].name.clone());
    PatchSet([(first, dense), (second, WeightPatch::LowRank(factors))].into())
}

fn read(folder: &Path) -> bool {
    let sites = sites();
    let fused = read_fused(&folder.join(FILE), &sites);
    if let Ok((patches, _)) = &fused {
        holds(patches.misfit(&sites).is_none(), "patches fit their sites");
    }
    let gram = StatisticsFolder::new(folder.join("inputs")).gram("cat", &sites[0]);
    if let Ok(Gram { inputs, values, kept, .. }) = &gram {
        holds(*inputs == 6 && [0, 36].contains(&values.len()), "the matrix fits its site");
        holds(kept.len() % 6 == 0, "kept inputs fit their site");
    }
    fused.is_ok() && gram.is_ok()
}
