//! Where B of a new concept may lie at each site.

use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;

use crate::lora::directions::Columns;
use crate::lora::{Feasible, Site};
use crate::settings::TrainConfig;

/// What is orthogonal to the `occupied` directions of each site, and in the settings' subspace at the selected ones.
pub(super) fn feasible(
    sites: &[Site],
    config: &TrainConfig,
    occupied: Vec<Columns>,
) -> Vec<Feasible> {
    let Some(subspace) = config.subspace else { return Feasible::outside(&occupied) };
    let mut blocks = BTreeMap::new();
    for site in sites.iter().filter(|site| config.sites.contains(site)) {
        let block = || Arc::new(subspace.block(config.subspace_family, site.inputs));
        blocks.entry(site.inputs).or_insert_with(block);
    }
    let at = |(site, occupied): (&Site, Columns)| match config.sites.contains(site) {
        true => Feasible::inside(blocks[&site.inputs].clone(), occupied),
        false => Feasible::from(occupied),
    };
    sites.par_iter().zip(occupied).map(at).collect()
}
