//! Fills a module with the weights of files. Missing and unused keys are errors.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor, backend::Backend};
use seqlora_core::precision::Precision;

use super::fused::parts;
use super::module_path::ModulePath;
use super::stored::StoredWeight;
use super::{Header, KeyLayout, ModelError, WeightFiles};

/// The largest number of keys that an error message lists.
const LISTED: usize = 12;

/// Fills `module` with the weights of `files`, as f32.
///
/// # Errors
/// If a file is damaged, if a key is missing, unused or of the wrong shape, or if a weight is not
/// finite.
pub fn load_weights<B: Backend, M: Module<B>>(
    module: M,
    files: &WeightFiles,
    layout: &KeyLayout,
) -> Result<M, ModelError> {
    CheckedWeights::of(&module, files, layout)?.fill(module, Precision::F32)
}

/// The weights of a module, whose names, shapes and types are those that the module needs. None of the
/// numbers has been read.
#[derive(Debug)]
pub struct CheckedWeights<B: Backend, M: Module<B>> {
    /// The file, or the folder of the shards.
    place: PathBuf,
    /// By our module path.
    weights: BTreeMap<String, StoredWeight>,
    _module: PhantomData<(B, fn(M))>,
}

impl<B: Backend, M: Module<B>> CheckedWeights<B, M> {
    /// Compares the headers of `files` with the parameters of `module`.
    ///
    /// # Errors
    /// If a file is damaged, or if a key is missing, unused, there twice, of the wrong shape or of a type
    /// that is not read.
    pub fn of(module: &M, files: &WeightFiles, layout: &KeyLayout) -> Result<Self, ModelError> {
        let mut found = Found::default();
        for file in &files.shards {
            found.add(&Rc::new(Header::read(file)?), layout);
        }
        let mut wanted = Parameters::<B>::default();
        module.visit(&mut wanted);
        let problems = found.compared_with(&wanted.shapes, layout);
        let place = match &files.shards[..] {
            [file] => file.clone(),
            _ => files.folder.clone(),
        };
        refuse(&place, problems)?;
        Ok(Self { place, weights: found.weights, _module: PhantomData })
    }

    /// Reads the weights into the module, converted to `precision`.
    ///
    /// # Errors
    /// If a file cannot be read, or if a weight is not finite or outside the range of `precision`.
    pub fn fill(self, module: M, precision: Precision) -> Result<M, ModelError> {
        let Self { place, weights, .. } = self;
        let (path, problems) = (ModulePath::default(), Vec::new());
        let mut filling = Filling { weights, precision, path, problems };
        let module = module.map(&mut filling);
        refuse(&place, filling.problems)?;
        Ok(module)
    }
}

/// An error that lists the first of the problems, if there are any.
fn refuse(place: &Path, mut problems: Vec<String>) -> Result<(), ModelError> {
    if problems.is_empty() {
        return Ok(());
    }
    if problems.len() > LISTED {
        let more = problems.len() - LISTED;
        problems.truncate(LISTED);
        problems.push(format!("and {more} more"));
    }
    Err(ModelError::Weights { path: place.into(), problems })
}

/// What the files hold, by our module path.
#[derive(Default)]
struct Found {
    weights: BTreeMap<String, StoredWeight>,
    /// Those that cannot be read.
    refused: BTreeSet<String>,
    problems: Vec<String>,
}

impl Found {
    /// Adds the parameters of a file.
    fn add(&mut self, header: &Rc<Header>, layout: &KeyLayout) {
        for key in header.tensors().keys() {
            for (name, slice) in parts(key) {
                let Some(path) = layout.ours(&name) else { continue };
                let transposed = layout.is_transposed(&path);
                match StoredWeight::new(header, key, slice, transposed, &path) {
                    Ok(weight) => {
                        if let Some(other) = self.weights.insert(path, weight) {
                            let problem =
                                format!("`{}` and `{key}` are the same weight", other.key);
                            self.problems.push(problem);
                        }
                    }
                    Err(problem) => {
                        self.refused.insert(path);
                        self.problems.push(problem);
                        // The same holds for all parts of a tensor.
                        self.problems.dedup();
                    }
                }
            }
        }
    }

    /// What is wrong: one sentence per key.
    fn compared_with(
        &mut self,
        wanted: &BTreeMap<String, Vec<usize>>,
        layout: &KeyLayout,
    ) -> Vec<String> {
        let mut problems = std::mem::take(&mut self.problems);
        let named = |path: &String| format!("`{}`", layout.theirs(path));
        for (path, expected) in wanted {
            match self.weights.get(path) {
                Some(weight) if weight.shape == *expected => {}
                Some(weight) => {
                    let shape = &weight.shape;
                    problems.push(format!(
                        "{} has shape {shape:?}, expected {expected:?}",
                        named(path)
                    ));
                }
                None if self.refused.contains(path) => {}
                None => problems.push(format!("{} is missing", named(path))),
            }
        }
        let unused = self.weights.keys().filter(|path| !wanted.contains_key(*path));
        problems.extend(unused.map(|path| format!("{} is not used by this model", named(path))));
        problems
    }
}

/// The shapes of a module's parameters by their path, found without allocating them.
struct Parameters<B> {
    path: ModulePath,
    shapes: BTreeMap<String, Vec<usize>>,
    _backend: PhantomData<B>,
}

impl<B> Default for Parameters<B> {
    fn default() -> Self {
        Self { path: ModulePath::default(), shapes: BTreeMap::new(), _backend: PhantomData }
    }
}

impl<B: Backend> ModuleVisitor<B> for Parameters<B> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.leave(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.shapes.insert(self.path.dotted(), param.lazy_shape().to_vec());
    }
}

/// Puts weights into a module.
struct Filling {
    weights: BTreeMap<String, StoredWeight>,
    precision: Precision,
    path: ModulePath,
    problems: Vec<String>,
}

impl<B: Backend> ModuleMapper<B> for Filling {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.leave(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let weight = self.weights.remove(&self.path.dotted()).expect("none is missing");
        match weight.read(self.precision) {
            Ok(mut data) => {
                let (id, device) = (param.id, param.lazy_device());
                let dtype: DType = self.precision.dtype().into();
                // CUDA's rows begin at multiples of 16 bytes; a kernel of a convolution has rows of 3 numbers.
                let shape: [usize; D] = data.shape.dims();
                data.shape = [data.num_elements()].into();
                let values = Tensor::<B, 1>::from_data(data, (&device, dtype));
                param.transform_for_load(values.reshape(shape), id)
            }
            Err(problem) => {
                self.problems.push(problem);
                param
            }
        }
    }
}
