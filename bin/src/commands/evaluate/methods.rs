//! The methods: banks, what was made of them, and images from elsewhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use burn_seqlora::FoundModel;
use burn_seqlora::bank::Bank;
use burn_seqlora::compose::{Member, check_members};
use burn_seqlora::eval::protocol::{MethodPlan, Protocol};
use burn_seqlora::files::{sha256, sha256_of_file};

use crate::args::{Evaluate, Named};
use crate::failure::Failure;

/// A method, and where its images come from.
pub struct Method {
    pub plan: MethodPlan,
    pub source: Source,
}

/// Where a method's images come from.
pub enum Source {
    /// A bank, whose concepts are added, or fused by a file.
    Bank { path: PathBuf, order: Vec<String>, fused: Option<PathBuf> },
    /// A folder with a folder of images for each concept.
    Images(PathBuf),
}

/// The files of a concept that an image depends on.
const FILES: [&str; 3] = ["concept.json", "adapter.safetensors", "tokens.safetensors"];

/// The methods in the order of tables, and the name and fingerprint of the base model, which are empty if there
/// is none.
///
/// # Errors
/// If a name is given twice, a bank cannot be read, lacks a concept or belongs to another base model, or a
/// folder of images is not there.
pub fn read(
    args: &Evaluate,
    protocol: &Protocol,
    found: Option<&FoundModel>,
) -> Result<(Vec<Method>, [String; 2]), Failure> {
    let mut names = BTreeSet::new();
    if let Some(Named { name, .. }) =
        args.bank.iter().chain(&args.images).find(|named| !names.insert(&named.name))
    {
        return Err(Failure::Usage(format!(
            "two methods are called `{name}`; name them: NAME=PATH"
        )));
    }
    for Named { name, .. } in &args.fused {
        if !args.bank.iter().any(|bank| bank.name == *name) {
            return Err(Failure::Usage(format!("--fused {name}=…: there is no --bank {name}=…")));
        }
    }
    if args.bank.is_empty() && args.images.is_empty() {
        return Err(Failure::Usage("give what is evaluated: --bank, or --images".into()));
    }
    let base = match found {
        Some(found) => [found.name().to_string(), found.fingerprint()?],
        None => Default::default(),
    };
    let of_bank = |named: &Named| {
        let fused = args.fused.iter().find(|fused| fused.name == named.name);
        bank(named, fused.map(|fused| fused.path.as_path()), protocol, &base[1])
    };
    let banks = args.bank.iter().map(of_bank);
    let images = args.images.iter().map(foreign);
    Ok((banks.chain(images).collect::<Result<_, _>>()?, base))
}

fn bank(
    Named { name, path }: &Named,
    fused: Option<&Path>,
    protocol: &Protocol,
    base: &str,
) -> Result<Method, Failure> {
    let bank = Bank::open(path)?;
    if bank.base().fingerprint != base {
        return Err(Failure::Usage(format!(
            "{} was made with another base model, {}; --model chooses the model, and --bank the bank",
            path.display(),
            bank.base()
        )));
    }
    let members: Vec<Member> = bank.concepts().iter().map(Member::new).collect();
    check_members(&bank, &members)?;
    let order: Vec<String> = members.into_iter().map(|member| member.id).collect();
    let place = |id: &String| {
        order.iter().position(|known| known == id).ok_or_else(|| {
            Failure::Usage(format!(
                "{} holds no concept `{id}`; --concept chooses those of the data that are evaluated",
                path.display()
            ))
        })
    };
    let places = protocol.concepts.iter().map(|concept| place(&concept.id));
    let places = places.collect::<Result<Vec<_>, _>>()?;
    // The model with the first n concepts is what they and the base model are.
    let mut digest = sha256(base.as_bytes());
    let mut models = vec![None];
    for id in bank.concepts() {
        let folder = bank.concept_folder(id);
        let mut parts = vec![digest, id.to_string()];
        for file in FILES {
            parts.push(sha256_of_file(&folder.join(file))?);
        }
        digest = sha256(parts.join("\n").as_bytes());
        models.push(Some(digest.clone()));
    }
    if let Some(file) = fused {
        models.fill(None);
        let fused = format!("{digest}\n{}", sha256_of_file(file)?);
        *models.last_mut().expect("the base is there") = Some(sha256(fused.as_bytes()));
    }
    let plan = MethodPlan { name: name.clone(), places, models };
    let fused = fused.map(Path::to_path_buf);
    Ok(Method { plan, source: Source::Bank { path: path.clone(), order, fused } })
}

fn foreign(Named { name, path }: &Named) -> Result<Method, Failure> {
    if !path.is_dir() {
        return Err(Failure::Usage(format!("--images {name}: {} is no folder", path.display())));
    }
    let plan = MethodPlan { name: name.clone(), places: Vec::new(), models: Vec::new() };
    Ok(Method { plan, source: Source::Images(path.clone()) })
}
