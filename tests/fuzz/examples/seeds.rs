//! Writes a good input for every file that a target reads: `seeds FOLDER`.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).expect("the folder for the seeds"));
    for target in seqlora_fuzz::TARGETS {
        let folder = folder.join(target.name);
        std::fs::create_dir_all(&folder)?;
        for (name, input) in target.seeds() {
            std::fs::write(folder.join(name), input)?;
        }
    }
    Ok(())
}
