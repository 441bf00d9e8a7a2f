//! Adapters as host data and as safetensors files.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Tensor, TensorData, backend::Backend};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::files::write_atomic;
use crate::adapter::directions::{Columns, from_columns, orthonormal_gauge, to_columns};
use crate::adapter::{AdapterSet, Site};
use crate::error::{Error, Result};

/// f32 matrices by name.
pub type NamedTensors = BTreeMap<String, ([usize; 2], Vec<f32>)>;

/// The factors at one site.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredFactors {
    /// r
    pub rank: usize,
    /// A `[n, r]`, row by row.
    pub up: Vec<f32>,
    /// Bᵀ `[r, m]`, row by row: LoRA's down projection as other tools store it.
    pub down: Vec<f32>,
}

/// A concept's factors at all sites; `None` where it has none.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredAdapter {
    /// One entry per site.
    pub sites: Vec<Option<StoredFactors>>,
}

impl StoredFactors {
    /// The columns of B in f64.
    pub fn down_columns(&self) -> Columns {
        let inputs = self.down.len() / self.rank;
        self.down.chunks(inputs).map(|row| row.iter().map(|x| *x as f64).collect()).collect()
    }

    /// A and B `[m, r]` on a device.
    pub fn to_tensors<B: Backend>(&self, device: &B::Device) -> (Tensor<B, 2>, Tensor<B, 2>) {
        let matrix = |values: &[f32], rows, columns| {
            Tensor::from_data(TensorData::new(values.to_vec(), [rows, columns]), device)
        };
        let (outputs, inputs) = (self.up.len() / self.rank, self.down.len() / self.rank);
        let down = from_columns(&self.down_columns());
        (matrix(&self.up, outputs, self.rank), matrix(&down, inputs, self.rank))
    }
}

impl StoredAdapter {
    /// # Errors
    /// If the file is missing or damaged, or a shape does not fit its site.
    pub fn read(path: &Path, sites: &[Site]) -> Result<Self> {
        let mut tensors = read_tensors(path)?;
        let stored = sites.iter().map(|site| {
            let up = tensors.remove(&format!("{}.lora_up", site.name));
            let down = tensors.remove(&format!("{}.lora_down", site.name));
            let fits = |up: &[usize; 2], down: &[usize; 2]| {
                let rank = up[1];
                rank > 0 && *up == [site.outputs, rank] && *down == [rank, site.inputs]
            };
            match (up, down) {
                (None, None) => Ok(None),
                (Some((shape, up)), Some((other, down))) if fits(&shape, &other) => {
                    Ok(Some(StoredFactors { rank: shape[1], up, down }))
                }
                _ => {
                    let reason = format!("the factors of `{}` do not fit the layer", site.name);
                    Err(Error::Damaged { path: path.into(), reason })
                }
            }
        });
        let sites = stored.collect::<Result<_>>()?;
        match tensors.keys().next() {
            Some(key) => Err(Error::Damaged {
                path: path.into(),
                reason: format!("`{key}` belongs to no layer of the base model"),
            }),
            None => Ok(Self { sites }),
        }
    }

    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path, sites: &[Site]) -> Result<()> {
        let mut tensors = NamedTensors::new();
        for (site, factors) in sites.iter().zip(&self.sites) {
            let Some(StoredFactors { rank, up, down }) = factors else { continue };
            let name = &site.name;
            tensors.insert(format!("{name}.lora_up"), ([site.outputs, *rank], up.clone()));
            tensors.insert(format!("{name}.lora_down"), ([*rank, site.inputs], down.clone()));
        }
        write_tensors(path, &tensors)
    }

    /// The rank at each site.
    pub fn ranks(&self) -> Vec<usize> {
        self.sites.iter().map(|f| f.as_ref().map_or(0, |f| f.rank)).collect()
    }
}

/// The trained factors in the bank's gauge: B orthonormal and orthogonal to the `occupied`
/// directions, A Bᵀ unchanged (docs/math.md, after a concept).
pub fn finish_adapter<B: Backend>(set: &AdapterSet<B>, occupied: &[Columns]) -> StoredAdapter {
    let site = |number: usize| {
        let (up, down) = (set.up.get(number)?, set.down.get(number)?);
        let [outputs, rank] = up.dims();
        let values = |t: &Tensor<B, 2>| t.to_data().iter::<f32>().collect::<Vec<f32>>();
        let (up, down) = (values(up), values(down));
        let (basis, r) = orthonormal_gauge(to_columns(&down, rank), &occupied[number]);
        // A Rᵀ
        let row = |a: &[f32]| -> Vec<f32> {
            let product = |r: &Vec<f64>| r.iter().zip(a).map(|(r, a)| r * *a as f64).sum::<f64>();
            r.iter().map(|r| product(r) as f32).collect()
        };
        let up: Vec<f32> = (0..outputs).flat_map(|i| row(&up[i * rank..(i + 1) * rank])).collect();
        let down = basis.iter().flatten().map(|x| *x as f32).collect();
        (!basis.is_empty()).then_some(StoredFactors { rank: basis.len(), up, down })
    };
    StoredAdapter { sites: (0..set.up.len()).map(site).collect() }
}

/// Writes f32 matrices as safetensors, atomically.
pub fn write_tensors(path: &Path, tensors: &NamedTensors) -> Result<()> {
    let bytes: Vec<(&str, [usize; 2], Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| {
            (name.as_str(), *shape, values.iter().flat_map(|x| x.to_le_bytes()).collect())
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes).expect("bytes fit the shape");
        (*name, view)
    });
    let file = safetensors::serialize(views, None).map_err(Error::damaged(path))?;
    write_atomic(path, &file)
}

/// Reads f32 matrices.
///
/// # Errors
/// If the file is missing, cut off, or holds anything but finite f32 matrices.
pub fn read_tensors(path: &Path) -> Result<NamedTensors> {
    let bytes = std::fs::read(path).map_err(Error::io("cannot read", path))?;
    let file = SafeTensors::deserialize(&bytes).map_err(Error::damaged(path))?;
    let matrix = |(name, view): (String, TensorView)| {
        let damaged = |reason: &str| {
            let reason = format!("`{name}` {reason}");
            Error::Damaged { path: path.into(), reason }
        };
        let shape: [usize; 2] = view.shape().try_into().map_err(|_| damaged("is no matrix"))?;
        if view.dtype() != Dtype::F32 {
            return Err(damaged("is not f32"));
        }
        let number = |b: &[u8]| f32::from_le_bytes(b.try_into().expect("four bytes"));
        let values: Vec<f32> = view.data().chunks_exact(4).map(number).collect();
        match values.iter().all(|x| x.is_finite()) {
            true => Ok((name, (shape, values))),
            false => Err(damaged("holds numbers that are not finite")),
        }
    };
    file.tensors().into_iter().map(matrix).collect()
}
