//! A temporary folder with images, a bank and a model, and the program run in it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

use crate::files::Files;
use crate::images::write_photos;
use crate::run::{Run, Running};
use crate::weights;
use crate::weights::Weights;

/// The concepts of most tests, in the order in which a folder of folders is learnt.
pub const THREE: [&str; 3] = ["cat", "dog", "mug"];

/// A step takes a fraction of a second with these, and losses fall.
const SETTINGS: &str = "
    steps = 6
    batch = 1
    outer = 1
    inner = 1
    rank = 2
    lr_unet = 3e-3
    lr_text = 1e-3
    lr_token = 1e-2
    token_norm_limit = 10.0
    crops = 2
    probes = 2
";

/// The program under test; `SEQLORA_BIN` names another build of it, e.g. an older one.
fn program() -> OsString {
    std::env::var_os("SEQLORA_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_seqlora").into())
}

/// A file or folder of `tests/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures")).join(name)
}

/// What `seqlora learn` makes of [`THREE`], learnt once for all tests.
#[derive(Debug)]
pub struct Learnt {
    /// The bank.
    pub bank: Files,
    /// What `--json` printed.
    pub summary: Value,
    /// What was said meanwhile.
    pub messages: String,
}

impl Learnt {
    /// The bank of [`THREE`].
    pub fn three() -> &'static Self {
        static LEARNT: OnceLock<Learnt> = OnceLock::new();
        LEARNT.get_or_init(|| {
            let project = Project::new(&THREE);
            let run = project.learn("photos", "--json").succeeds();
            Self { bank: project.bank(), summary: run.json(), messages: run.stderr }
        })
    }
}

/// A temporary folder in which the program runs: `photos`, `bank`, `settings.toml`, `out`.
#[derive(Debug)]
pub struct Project {
    folder: TempDir,
    /// The base model.
    pub model: PathBuf,
}

impl Project {
    /// With images of these things in a folder each, and no bank.
    pub fn new(things: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let project = Self { folder, model: fixture("tiny-sd1") };
        project.write("settings.toml", SETTINGS);
        for thing in things {
            write_photos(&project.path("photos").join(thing), thing);
        }
        project
    }

    /// With a bank that holds [`THREE`].
    pub fn with_bank() -> Self {
        let project = Self::new(&[]);
        Learnt::three().bank.write(&project.path("bank"));
        project
    }

    /// With a copy of the model in which one weight file, e.g. `unet`'s, is changed.
    pub fn with_weights(component: &str, change: impl FnOnce(&mut Weights)) -> Self {
        let project = Self::new(&["cat"]).with_own_model();
        let file = project.weight_file(component);
        let mut weights = weights::read(&file);
        change(&mut weights);
        weights::write(&file, &weights);
        project
    }

    /// With a copy of the model, to be changed.
    pub fn with_own_model(self) -> Self {
        let model = self.path("model");
        Files::read(&self.model).write(&model);
        Self { model, ..self }
    }

    /// With a model in the project's folder.
    pub fn with_model(self, name: &str) -> Self {
        let model = self.path(name);
        self.with_model_at(model)
    }

    /// With a model anywhere.
    pub fn with_model_at(self, model: PathBuf) -> Self {
        Self { model, ..self }
    }

    /// The weights of a component of the model.
    pub fn weight_file(&self, component: &str) -> PathBuf {
        let name = if component == "text_encoder" { "model" } else { "diffusion_pytorch_model" };
        self.model.join(component).join(format!("{name}.safetensors"))
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, and the folders that it needs.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("it lies in the folder")).unwrap();
        fs::write(path, content).unwrap();
    }

    /// All files of the bank.
    pub fn bank(&self) -> Files {
        Files::read(&self.path("bank"))
    }

    /// The program with these arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.current_dir(self.folder.path()).args(arguments);
        command
    }

    /// `seqlora learn DATA` into `bank`; options are split at spaces.
    pub fn learn_command(&self, data: &str, options: &str) -> Command {
        let mut command = self.command(&["learn", data, "--bank", "bank", "--model"]);
        command.arg(&self.model).args(["--config", "settings.toml"]);
        command.args(options.split_whitespace());
        command
    }

    /// Runs the program.
    pub fn run(&self, arguments: &[&str]) -> Run {
        Run::of(self.command(arguments))
    }

    /// Runs `seqlora learn DATA`.
    pub fn learn(&self, data: &str, options: &str) -> Run {
        Run::of(self.learn_command(data, options))
    }

    /// Starts `seqlora learn photos` in the background.
    pub fn start_learn(&self, options: &str) -> Running {
        Running::start(self.learn_command("photos", options))
    }

    /// `seqlora generate` in four steps into an empty `out`, without a bank unless the options name
    /// it.
    pub fn generate_command(&self, prompt: &str, options: &str) -> Command {
        let mut command = self.command(&["generate", "--prompt", prompt, "--steps", "4"]);
        command.arg("--model").arg(&self.model).args(options.split_whitespace());
        if !options.contains("--out") {
            let _ = fs::remove_dir_all(self.path("out"));
            command.args(["--out", "out"]);
        }
        command
    }

    /// Runs `seqlora generate`.
    pub fn generate(&self, prompt: &str, options: &str) -> Run {
        Run::of(self.generate_command(prompt, options))
    }

    /// The pixels of the first image in `out`, without the settings that are stored beside them.
    #[track_caller]
    pub fn pixels(&self) -> Vec<u8> {
        let png = fs::read(self.path("out/00000.png")).unwrap();
        image::load_from_memory(&png).unwrap().into_rgb8().into_raw()
    }

    /// The bytes of the PNG that `seqlora generate` makes with the bank.
    #[track_caller]
    pub fn image(&self, prompt: &str, options: &str) -> Vec<u8> {
        self.generate(prompt, &format!("--bank bank {options}")).succeeds();
        fs::read(self.path("out/00000.png")).unwrap()
    }

    /// What `seqlora inspect bank --json` prints.
    #[track_caller]
    pub fn inspect(&self) -> Value {
        self.run(&["inspect", "bank", "--json"]).succeeds().json()
    }

    /// The ids of the bank's concepts.
    #[track_caller]
    pub fn ids(&self) -> Vec<String> {
        let concepts = self.inspect()["concepts"].as_array().expect("a list").clone();
        concepts.iter().map(|c| c["id"].as_str().expect("a text").to_string()).collect()
    }
}
