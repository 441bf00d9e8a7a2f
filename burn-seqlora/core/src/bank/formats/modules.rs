//! The modules of another tool's adapter, and which of our sites they are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use nalgebra::DMatrix;
use safetensors::tensor::TensorInfo;
use seqlora_files::Header;

use crate::bank::tensors::{Array, Matrix, NamedArrays, read_arrays};
use crate::error::{Error, Result};
use crate::lora::{Site, StoredAdapter, StoredFactors};

/// An adapter as a tool stores it: for whatever model, under the tool's names.
#[derive(Debug, Clone, PartialEq)]
pub struct ForeignAdapter {
    /// The file, or the folder.
    pub path: PathBuf,
    /// By the name that the tool gives the module.
    pub modules: BTreeMap<String, Module>,
    /// The embeddings `[rows, width]` of the words that come with it, by word.
    pub words: BTreeMap<String, Matrix>,
    /// What the file says besides: settings, captions, the base model.
    pub metadata: BTreeMap<String, String>,
    /// The modules that its settings list and of which it has no factors.
    pub missing: Vec<String>,
    /// Whether it has the digest of other tensors than those that it holds.
    pub is_changed: bool,
}

/// The factors of one module: ΔW = `scale` · up · down.
#[derive(Debug, Clone, PartialEq)]
pub struct Module {
    /// r
    pub rank: usize,
    /// What the product is multiplied with: alpha / r, or alpha / √r with rank-stabilised LoRA.
    pub scale: f64,
    /// Whether the file says the scale; if not, it is 1.
    pub scale_is_stated: bool,
    /// `[n, r]`
    pub up: Vec<f32>,
    /// `[r, m]`; for a convolution m counts channels times the places of the kernel.
    pub down: Vec<f32>,
    /// Height and width of a convolution's kernel; `[1, 1]` for linear layers too.
    pub kernel: [usize; 2],
}

/// What of a foreign adapter a model has a place for.
#[derive(Debug, Clone, PartialEq)]
pub struct Matched {
    /// The factors at the model's sites, with the scale in A.
    pub adapter: StoredAdapter,
    /// The names of the modules that are none of its sites.
    pub others: Vec<String>,
}

impl Module {
    /// A module from its two tensors. Those of a convolution have four dimensions, of which the last two
    /// are 1 in `up`.
    ///
    /// # Errors
    /// Says what does not fit.
    pub fn new((up_shape, up): Array, (down_shape, down): Array) -> Result<Self, String> {
        let shapes = || format!("has factors of shapes {up_shape:?} and {down_shape:?}");
        let (rank, kernel) = match (&up_shape[..], &down_shape[..]) {
            ([_, r], [rank, _]) if r == rank => (*rank, [1, 1]),
            ([_, r, 1, 1], [rank, _, height, width]) if r == rank => (*rank, [*height, *width]),
            _ => return Err(format!("{}, which do not fit each other", shapes())),
        };
        if rank == 0 || up.is_empty() || down.is_empty() {
            return Err(format!("{}, which are empty", shapes()));
        }
        Ok(Self { rank, scale: 1.0, scale_is_stated: false, up, down, kernel })
    }

    /// The same with the scale that the file says.
    pub fn scaled(self, scale: f64) -> Self {
        Self { scale, scale_is_stated: true, ..self }
    }

    /// alpha, as most tools define it.
    pub fn alpha(&self) -> f64 {
        self.scale * self.rank as f64
    }

    /// The factors as they are, or how their sizes differ from a site's.
    fn fit(&self, site: &Site) -> Result<StoredFactors, String> {
        let Self { rank, up, down, .. } = self;
        let factors = StoredFactors { rank: *rank, up: up.clone(), down: down.clone() };
        match self.kernel == [1, 1] && factors.fits(site) {
            true => Ok(factors),
            false => Err(format!(
                "has factors for {} inputs and {} outputs, and the model's layer has {} and {}",
                factors.inputs(),
                factors.outputs(),
                site.inputs,
                site.outputs
            )),
        }
    }

    /// Its factors with the scale in A, or what is wrong with them.
    fn with_scale(&self, factors: StoredFactors) -> Result<StoredFactors, String> {
        let Self { scale, up, .. } = self;
        let up: Vec<f32> = up.iter().map(|x| (f64::from(*x) * scale) as f32).collect();
        match up.iter().all(|x| x.is_finite()) {
            true => Ok(StoredFactors { up, ..factors }),
            false => Err(format!("is not finite any more when it is multiplied with {scale}")),
        }
    }
}

impl Module {
    /// ‖ΔW‖², the sum of the squares of all entries.
    pub fn energy(&self) -> f64 {
        let factors =
            StoredFactors { rank: self.rank, up: self.up.clone(), down: self.down.clone() };
        let (up, down) = factors.to_matrices();
        // ‖A Bᵀ‖² = tr(AᵀA BᵀB)
        let gram = |m: &DMatrix<f64>| m.transpose() * m;
        self.scale.powi(2) * gram(&up).component_mul(&gram(&down)).sum()
    }
}

impl ForeignAdapter {
    /// The modules of a file.
    pub fn new(header: &Header, modules: BTreeMap<String, Module>) -> Self {
        let (path, metadata) = (header.path().into(), header.metadata().clone());
        let (words, missing) = (BTreeMap::new(), Vec::new());
        Self { path, modules, words, metadata, missing, is_changed: false }
    }

    /// Finds its modules among a model's sites, by the names that its format has for them
    /// ([`AdapterFormat::module_names`](super::AdapterFormat::module_names)).
    ///
    /// # Errors
    /// If a module does not fit its site, or is there under two names.
    pub fn matched(
        &self,
        module_names: impl Fn(&str) -> Vec<String>,
        sites: &[Site],
    ) -> Result<Matched> {
        let mut adapter = StoredAdapter::default();
        let mut others: BTreeSet<&str> = self.modules.keys().map(String::as_str).collect();
        for site in sites {
            for name in module_names(&site.name) {
                let Some(module) = self.modules.get(&name) else { continue };
                others.remove(name.as_str());
                let reason = |reason: String| format!("`{name}` {reason}");
                let damaged = |text| Error::damaged(&self.path, reason(text));
                let misfit = |text| Error::AdapterOfOtherModel {
                    path: self.path.clone(),
                    reason: reason(text),
                };
                let factors = module.fit(site).map_err(misfit)?;
                let factors = module.with_scale(factors).map_err(damaged)?;
                if adapter.0.insert(site.name.clone(), factors).is_some() {
                    return Err(damaged("is there under two names".into()));
                }
            }
        }
        Ok(Matched { adapter, others: others.into_iter().map(String::from).collect() })
    }
}

/// The modules of a file whose keys are a module's name and one of these ends.
///
/// # Errors
/// If a tensor is no factor and no alpha of a module, or a module is incomplete.
pub fn read_modules(
    header: &Header,
    split: impl Fn(&str) -> Option<(String, Piece)>,
) -> Result<BTreeMap<String, Module>> {
    check_ranks(header, &split)?;
    modules(header.path(), read_arrays(header)?, split)
}

/// The largest rank that is read: 1024 concepts of rank 4 in one file.
const MOST_RANK: usize = 4096;

/// Refuses ranks that no adapter has, before any number is read.
///
/// # Errors
/// Names the first.
pub fn check_ranks(header: &Header, split: impl Fn(&str) -> Option<(String, Piece)>) -> Result<()> {
    let rank = |(key, info): (&String, &TensorInfo)| match split(key)?.1 {
        Piece::Up => info.shape.get(1).copied(),
        Piece::Down => info.shape.first().copied(),
        Piece::Alpha => None,
    };
    let large = header.tensors().iter().find(|(key, info)| rank((key, info)) > Some(MOST_RANK));
    match large {
        None => Ok(()),
        Some((key, _)) => {
            let reason = format!("`{key}` has a rank above {MOST_RANK}, the largest that is read");
            Err(Error::damaged(header.path(), reason))
        }
    }
}

/// The same of tensors that have been read.
pub fn modules(
    path: &Path,
    tensors: NamedArrays,
    split: impl Fn(&str) -> Option<(String, Piece)>,
) -> Result<BTreeMap<String, Module>> {
    let mut pieces: BTreeMap<String, Pieces> = BTreeMap::new();
    for (key, tensor) in tensors {
        let Some((module, piece)) = split(&key) else {
            let reason = format!("`{key}` is not a factor of a plain LoRA");
            return Err(Error::damaged(path, reason));
        };
        let place = pieces.entry(module).or_default().place(piece);
        if place.replace(tensor).is_some() {
            return Err(Error::damaged(path, format!("`{key}` is there under two names")));
        }
    }
    let module = |(name, pieces): (String, Pieces)| {
        let module = pieces.into_module();
        let damaged = |reason| Error::damaged(path, format!("`{name}` {reason}"));
        module.map_err(damaged).map(|module| (name.clone(), module))
    };
    pieces.into_iter().map(module).collect()
}

/// Which of a module's tensors it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// The factor `[n, r]`.
    Up,
    /// The factor `[r, m]`.
    Down,
    /// A number.
    Alpha,
}

#[derive(Default)]
struct Pieces {
    up: Option<Array>,
    down: Option<Array>,
    alpha: Option<Array>,
}

impl Pieces {
    fn place(&mut self, piece: Piece) -> &mut Option<Array> {
        match piece {
            Piece::Up => &mut self.up,
            Piece::Down => &mut self.down,
            Piece::Alpha => &mut self.alpha,
        }
    }

    /// Without an alpha the scale is 1, as every tool has it.
    fn into_module(self) -> Result<Module, String> {
        let (Some(up), Some(down)) = (self.up, self.down) else {
            return Err("has one factor instead of two".into());
        };
        let module = Module::new(up, down)?;
        match self.alpha {
            None => Ok(module),
            Some((_, alpha)) => match alpha[..] {
                [alpha] => {
                    let rank = module.rank as f64;
                    Ok(module.scaled(f64::from(alpha) / rank))
                }
                _ => Err(format!("has {} numbers as its alpha", alpha.len())),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let array = |shape: &[usize]| (shape.to_vec(), vec![0.5; shape.iter().product()]);
        let rank = |up: &[usize], down: &[usize]| Module::new(array(up), array(down));
        assert_eq!(rank(&[3, 2], &[2, 5]).unwrap().kernel, [1, 1]);
        assert_eq!(rank(&[3, 2, 1, 1], &[2, 5, 3, 3]).unwrap().kernel, [3, 3]);
        for (up, down, text) in [
            (&[3, 2][..], &[1, 5][..], "[3, 2] and [1, 5], which do not fit"),
            (&[3, 2, 3, 3], &[2, 5, 1, 1], "do not fit"),
            (&[3], &[3], "do not fit"),
            (&[3, 0], &[0, 5], "empty"),
            (&[0, 2], &[2, 5], "empty"),
        ] {
            let error = rank(up, down).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
    }
}
