//! What a growing number of concepts costs on a model of Stable Diffusion's size: learning one more, generating
//! with all, and fusing them. The program is measured as users run it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use burn_seqlora::Model;
use burn_seqlora::RgbImage;
use burn_seqlora::bank::{Bank, BaseModel, ConceptId, ConceptRecord, TrainingRecord};
use burn_seqlora::kernels::Flex;
use burn_seqlora::lora::directions::{Columns, fresh_directions};
use burn_seqlora::lora::{Site, StoredAdapter, StoredFactors};
use burn_seqlora::methods::Constraint;
use burn_seqlora::model::DiffusionModel;
use burn_seqlora::rng::Seed;
use burn_seqlora::settings::TrainConfig;
use burn_seqlora::train::plan_ranks;
use clap::Args;
use rand_distr::{Distribution, StandardNormal};
use serde::Serialize;
use serde_json::Value;

use crate::failure::Failure;
use crate::measure::Measurement;
use crate::program::{Program, RunOptions};

/// On which model, with how many concepts.
#[derive(Debug, Args)]
pub struct Options {
    /// The base model.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Concepts in the bank before one more is learnt.
    #[arg(long, value_delimiter = ',', default_value = "0,31,100", value_name = "N,...")]
    stored: Vec<usize>,
    /// Fusions of as many random concepts as the last bank has with what was learnt.
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    fusions: Vec<String>,
    /// Sampling steps of the images whose activations a fusion records; 20 by default in `seqlora fuse`.
    #[arg(long, default_value_t = 1, value_name = "N")]
    fusion_steps: usize,
    /// Side of all images in pixels; fusions take the model's own.
    #[arg(long, default_value_t = 256, value_name = "PIXELS")]
    resolution: usize,
    #[command(flatten)]
    run: RunOptions,
}

/// The name of the concept that is really learnt.
const NEW: &str = "new";

/// One command.
#[derive(Debug, Serialize)]
struct Row {
    work: String,
    /// Concepts in the bank.
    concepts: usize,
    /// Of the whole command, reading the model included.
    #[serde(flatten)]
    took: Measurement,
    /// Of training alone.
    training_seconds: Option<f64>,
}

impl Options {
    /// Fills banks with random concepts, runs the commands and prints what they took.
    pub fn run(self) -> Result<(), Failure> {
        fs::create_dir_all(&self.run.work)?;
        let most = self.stored.iter().copied().max().ok_or("--stored: a number is needed")?;
        self.fill_banks(most + 1)?;
        self.draw_photos()?;
        let program = self.run.program();
        let mut rows = Vec::new();
        let mut add = |row: Row| {
            println!("{}", row.line());
            rows.push(row);
        };
        println!(
            "| command | concepts | seconds | of training | peak memory, GB |\n|---|---|---|---|---|"
        );
        for stored in &self.stored {
            add(self.learn(&program, *stored)?);
        }
        add(self.generate(&program, most)?);
        for fusion in &self.fusions {
            add(self.fuse(&program, fusion, most + 1)?);
        }
        self.run.write_json(&rows)
    }

    fn bank(&self, stored: usize) -> PathBuf {
        self.run.work.join(format!("bank-{stored}"))
    }

    /// The bank of a fusion. A concept of one step is almost the base model, which LoRACLR cannot keep others away from.
    fn fused_bank(&self) -> PathBuf {
        self.run.work.join("bank-fused")
    }

    /// A bank of random concepts for each number, and one for fusions.
    fn fill_banks(&self, most: usize) -> Result<(), Failure> {
        let mut banks: Vec<_> =
            self.stored.iter().map(|count| (self.bank(*count), *count)).collect();
        if !self.fusions.is_empty() {
            banks.push((self.fused_bank(), most));
        }
        banks.retain(|(bank, _)| !bank.join("bank.json").exists());
        if banks.is_empty() {
            return Ok(());
        }
        let Model { model, base, .. } = Model::<Flex>::load(&self.model)?;
        let sites = model.sites().to_vec();
        drop(model);
        banks.iter().try_for_each(|(bank, count)| fill(bank, *count, most, &base, &sites))
    }

    /// Two images of random colours: what is learnt does not matter.
    fn draw_photos(&self) -> Result<(), Failure> {
        let folder = self.run.work.join("photos").join(NEW);
        fs::create_dir_all(&folder)?;
        let side = self.resolution as u32;
        for number in 0..2_u32 {
            let pixel = |x: u32, y: u32| [x, y, x ^ y].map(|c| (c * (number + 3)) as u8).into();
            RgbImage::from_fn(side, side, pixel).save(folder.join(format!("{number}.png")))?;
        }
        Ok(())
    }

    /// One minibatch of one image, K = 1 and T = 2 as in `compare`.
    fn learn(&self, program: &Program, stored: usize) -> Result<Row, Failure> {
        let mut command = program.command("learn");
        command.arg(self.run.work.join("photos")).args(["--class", "thing", "--json", "--force"]);
        command.arg("--model").arg(&self.model).arg("--bank").arg(self.bank(stored));
        command.args(["--steps", "1", "--batch", "1", "--outer", "1", "--inner", "2"]);
        command.args(["--resolution", &self.resolution.to_string()]);
        let announced = self.stored.iter().max().map_or(1, |most| most + 1);
        command.args(["--concepts", &announced.to_string()]);
        let result = self.run.work.join(format!("learn-{stored}.result.json"));
        let note = self.run.work.join(format!("learn-{stored}.json"));
        if !note.exists() {
            command.stdout(Stdio::from(fs::File::create(&result)?));
        }
        let took = program.run_once(command, &note)?;
        let result: Value = serde_json::from_str(&fs::read_to_string(&result)?)?;
        let training_seconds = result["concepts"][0]["seconds"].as_f64();
        Ok(Row { work: "learn".into(), concepts: stored, took, training_seconds })
    }

    /// Two sampling steps with all concepts of the bank, the new one included.
    fn generate(&self, program: &Program, stored: usize) -> Result<Row, Failure> {
        let mut command = program.command("generate");
        command.arg("--model").arg(&self.model).arg("--bank").arg(self.bank(stored));
        command.args(["--steps", "2", "--size", &format!("{0}x{0}", self.resolution)]);
        command.args(["--prompt", &format!("<{NEW}>"), "--out"]).arg(self.run.work.join("images"));
        let took = program.run_once(command, &self.run.work.join("generate.json"))?;
        Ok(Row { work: "generate".into(), concepts: stored + 1, took, training_seconds: None })
    }

    fn fuse(&self, program: &Program, fusion: &str, concepts: usize) -> Result<Row, Failure> {
        let mut command = program.command("fuse");
        command.arg("--model").arg(&self.model).arg("--bank").arg(self.fused_bank());
        command.args(["--method", fusion, "--steps", &self.fusion_steps.to_string(), "--out"]);
        let file = self.run.work.join(format!("{fusion}.safetensors"));
        command.arg(&file);
        let took = program.run_once_into(command, &file)?;
        let work = format!("fuse, {fusion}");
        Ok(Row { work, concepts, took, training_seconds: None })
    }
}

impl Row {
    fn line(&self) -> String {
        let Self { work, concepts, took, training_seconds } = self;
        let memory =
            took.peak_bytes.map_or("–".into(), |bytes| format!("{:.1}", bytes as f64 / 1e9));
        let training = training_seconds.map_or("–".into(), |seconds| format!("{seconds:.1}"));
        format!("| {work} | {concepts} | {:.1} | {training} | {memory} |", took.seconds)
    }
}

/// Fills a bank with concepts whose A is random and whose B are orthogonal to each other.
fn fill(
    bank: &Path,
    count: usize,
    announced: usize,
    base: &BaseModel,
    sites: &[Site],
) -> Result<(), Failure> {
    let mut bank = Bank::open_or_create(bank, base, sites)?;
    let config = TrainConfig { concepts: Some(announced), ..TrainConfig::default() };
    let none = vec![0; sites.len()];
    let ranks = plan_ranks(sites, &none, &config, Constraint::EarlierConcepts).ranks;
    // Layers of the same size share their directions, which take a while to draw.
    let mut drawn = std::collections::BTreeMap::<[usize; 2], Columns>::new();
    let seed = Seed::new(0);
    for number in 0..count {
        let mut rng = seed.fork("concept").at(number as u64);
        let mut adapter = StoredAdapter::default();
        for (site, rank) in sites.iter().zip(&ranks).filter(|(_, rank)| **rank > 0) {
            let directions = drawn.entry([site.inputs, *rank]).or_insert_with(|| {
                let mut rng = seed.fork("directions").at(site.inputs as u64);
                fresh_directions(site.inputs, rank * count, &Columns::new(), &mut rng)
            });
            let own = &directions[number * rank..(number + 1) * rank];
            let down = own.iter().flatten().map(|x| *x as f32).collect();
            // About as large as those of a concept learnt in some hundred steps of Adam at 1e-4.
            let draw = || -> f64 { StandardNormal.sample(&mut rng) };
            let up = std::iter::repeat_with(draw).take(site.outputs * rank);
            let up = up.map(|x| 1e-2 * x as f32).collect();
            adapter.0.insert(site.name.clone(), StoredFactors { rank: *rank, up, down });
        }
        let id = ConceptId::new(format!("random{number}"))?;
        let words = config.tokens.words();
        let embeddings = config.tokens.embeddings_per_word(base.cross_attention_layers);
        let record = ConceptRecord::new(&id, "thing", [words, embeddings], true, &adapter);
        let training = TrainingRecord {
            method: config.method.clone(),
            images: Vec::new(),
            data_digest: String::new(),
            steps: 1,
            initial_loss: 1.0,
            final_loss: 1.0,
            settings: serde_json::to_value(&config)?,
            trained_by: "nobody: random numbers of a benchmark".into(),
        };
        let rows = words * embeddings;
        let draw = || -> f64 { StandardNormal.sample(&mut rng) };
        let values = std::iter::repeat_with(draw).take(rows * base.token_width);
        let values = values.map(|x| 0.01 * x as f32).collect();
        bank.append(record, &training, &adapter, ([rows, base.token_width], values))?;
    }
    Ok(())
}
