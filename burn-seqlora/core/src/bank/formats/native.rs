//! The bank's own format: `<site>.lora_up` [n, r] and `<site>.lora_down` [r, m] in f32.

use std::path::Path;

use safetensors::SafeTensors;
use seqlora_files::{Header, write_atomic};

use super::modules::{Piece, read_modules};
use super::{AdapterCard, AdapterFormat, ForeignAdapter, Source};
use crate::bank::places::Places;
use crate::bank::tensors::{
    BorrowedTensors, NamedTensors, parse_tensors, read_array, to_safetensors,
};
use crate::error::{Error, Result};
use crate::lora::{Site, StoredAdapter, StoredFactors};

/// The file's name.
pub const FILE: &str = "adapter.safetensors";

const UP: &str = ".lora_up";
const DOWN: &str = ".lora_down";

/// `adapter.safetensors` as it lies in a bank.
#[derive(Debug, Clone, Copy)]
pub struct Native;

impl AdapterFormat for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn detect(&self, source: &Source) -> bool {
        match source {
            Source::Folder(folder) => folder.join(FILE).is_file(),
            Source::File(_) => source.is_file_of(|key| split(key).is_some()),
        }
    }

    fn read(&self, source: Source) -> Result<ForeignAdapter> {
        let header = source.header(&[FILE])?;
        Ok(ForeignAdapter::new(&header, read_modules(&header, split)?))
    }

    fn module_names(&self, site: &str) -> Vec<String> {
        vec![site.into()]
    }

    fn file_name(&self, _: &str) -> Option<String> {
        Some(FILE.into())
    }

    fn write(&self, folder: &Path, adapter: &StoredAdapter, _: &AdapterCard) -> Result<()> {
        let file = folder.join(FILE);
        Ok(write_atomic(&file, &to_bytes(&file, adapter)?)?)
    }
}

fn split(key: &str) -> Option<(String, Piece)> {
    let piece = |end, piece| Some((key.strip_suffix(end)?.to_string(), piece));
    piece(UP, Piece::Up).or_else(|| piece(DOWN, Piece::Down))
}

/// The bytes of the file; the path is for messages.
pub fn to_bytes(file: &Path, adapter: &StoredAdapter) -> Result<Vec<u8>> {
    to_safetensors(file, &to_tensors(&adapter.0))
}

/// The matrices of the file, of factors by their site.
pub fn to_tensors<'a>(
    factors: impl IntoIterator<Item = (&'a String, &'a StoredFactors)>,
) -> BorrowedTensors<'a> {
    let mut tensors = BorrowedTensors::new();
    for (name, factors) in factors {
        let (rank, StoredFactors { up, down, .. }) = (factors.rank, factors);
        tensors.insert(format!("{name}{UP}"), ([factors.outputs(), rank], up));
        tensors.insert(format!("{name}{DOWN}"), ([rank, factors.inputs()], down));
    }
    tensors
}

/// A file whose factors are read site by site.
#[derive(Debug)]
pub struct FactorsFile(Header);

impl FactorsFile {
    /// Opens a file that has been checked as a whole, by [`from_bytes`].
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open(file: &Path) -> Result<Self> {
        Ok(Self(Header::read(file)?))
    }

    /// The factors of a site, if there are any.
    ///
    /// # Errors
    /// If they cannot be read, or the file has changed and they do not fit the site.
    pub fn of(&self, site: &Site) -> Result<Option<StoredFactors>> {
        let Self(header) = self;
        let mut tensors = NamedTensors::new();
        for name in [UP, DOWN].map(|end| format!("{}{end}", site.name)) {
            if let Some(info) = header.tensors().get(&name) {
                let no_matrix = |_| Error::damaged(header.path(), format!("`{name}` is no matrix"));
                let shape = <[usize; 2]>::try_from(&info.shape[..]).map_err(no_matrix)?;
                let values = read_array(header, &name, info)?;
                tensors.insert(name, (shape, values));
            }
        }
        let read = from_tensors(header.path(), tensors, std::slice::from_ref(site))?;
        Ok(read.0.into_values().next())
    }
}

/// The adapter in the bytes of a file; the path is for messages.
///
/// # Errors
/// If the file is damaged, or a tensor does not fit its site.
pub fn from_bytes(file: &Path, bytes: &[u8], sites: &[Site]) -> Result<StoredAdapter> {
    from_tensors(file, parse_tensors(file, bytes)?, sites)
}

/// The adapter that the matrices of a file are; the path is for messages.
///
/// # Errors
/// If a matrix does not fit its site.
pub fn from_tensors(
    file: &Path,
    mut tensors: NamedTensors,
    sites: &[Site],
) -> Result<StoredAdapter> {
    let mut adapter = StoredAdapter::default();
    for site in sites {
        let up = tensors.remove(&format!("{}{UP}", site.name));
        let down = tensors.remove(&format!("{}{DOWN}", site.name));
        let fits = |up: &[usize; 2], down: &[usize; 2]| {
            let rank = up[1];
            rank > 0 && *up == [site.outputs, rank] && *down == [rank, site.inputs]
        };
        match (up, down) {
            (None, None) => {}
            (Some((shape, up)), Some((other, down))) if fits(&shape, &other) => {
                let factors = StoredFactors { rank: shape[1], up, down };
                adapter.0.insert(site.name.clone(), factors);
            }
            _ => {
                let reason = format!("the factors of `{}` do not fit the layer", site.name);
                return Err(Error::damaged(file, reason));
            }
        }
    }
    match tensors.keys().next() {
        Some(key) => {
            Err(Error::damaged(file, format!("`{key}` belongs to no layer of the base model")))
        }
        None => Ok(adapter),
    }
}

/// Where B lies in the bytes of a file that [`from_bytes`] has read.
///
/// # Errors
/// If the file is damaged.
pub fn places(file: &Path, bytes: &[u8], sites: &[Site]) -> Result<Places> {
    let header = SafeTensors::read_metadata(bytes).map_err(|e| Error::damaged(file, e))?;
    let (length, header) = header;
    let place = |site: &Site| match header.info(&format!("{}{DOWN}", site.name)) {
        // Eight bytes say how long the header is.
        Some(info) => ((8 + length + info.data_offsets.0) as u64, info.shape[0]),
        None => (0, 0),
    };
    Ok(Places { file: file.into(), sites: sites.iter().map(place).collect() })
}

/// The bytes of Bᵀ of all sites in a file, one after the other.
///
/// # Errors
/// If the file cannot be read.
pub fn down_bytes(header: &Header, sites: &[Site]) -> Result<Vec<u8>> {
    let keys = sites.iter().map(|site| format!("{}{DOWN}", site.name));
    let bytes = keys.filter_map(|key| header.tensors().get(&key)).map(|info| header.bytes(info));
    Ok(bytes.collect::<Result<Vec<_>, _>>()?.concat())
}

#[cfg(test)]
mod tests {
    use super::super::testing::site;
    use super::*;
    use crate::bank::tensors::write_tensors;

    #[test]
    fn factors_come_back_and_misfits_are_named() {
        let sites = ["unet.a", "unet.b"].map(site);
        let factors = StoredFactors { rank: 1, up: vec![1.0, -0.5], down: vec![0.25, 0.0, 2.0] };
        let adapter = StoredAdapter([("unet.b".to_string(), factors)].into());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        std::fs::write(&file, to_bytes(&file, &adapter).unwrap()).unwrap();
        let read = |sites: &[Site]| from_bytes(&file, &std::fs::read(&file).unwrap(), sites);
        assert_eq!(read(&sites).unwrap(), adapter);

        let refused = |sites: &[Site], text: &str| {
            let error = read(sites).unwrap_err().to_string();
            assert!(error.contains(FILE) && error.contains(text), "{error}");
        };
        refused(&sites[..1], "`unet.b.lora_down` belongs to no layer");
        let wide = Site { inputs: 4, ..site("unet.b") };
        refused(&[wide], "the factors of `unet.b` do not fit the layer");
        let whole = parse_tensors(&file, &std::fs::read(&file).unwrap()).unwrap();
        let half = whole.into_iter().filter(|(name, _)| name == "unet.b.lora_up").collect();
        write_tensors(&file, &half).unwrap();
        refused(&sites, "the factors of `unet.b` do not fit the layer");
    }
}
