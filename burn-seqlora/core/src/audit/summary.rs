//! What the energies of all layers say of a pair of concepts.

use super::energy::{Energies, SiteEnergies};
use crate::check::greatest;
use crate::lora::{Part, Site};

/// Layers whose inputs are of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LayerGroup {
    /// The text encoder.
    TextEncoder,
    /// Keys and values of cross-attention, which read the prompt's states.
    PromptKeysAndValues,
    /// All other layers of the denoiser.
    Spatial,
}

impl LayerGroup {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::TextEncoder, Self::PromptKeysAndValues, Self::Spatial];

    /// That of a site.
    pub fn of(site: &Site) -> Self {
        match site.part {
            Part::TextEncoder => Self::TextEncoder,
            Part::Denoiser if site.reads_prompt() => Self::PromptKeysAndValues,
            Part::Denoiser => Self::Spatial,
        }
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::TextEncoder => "text encoder",
            Self::PromptKeysAndValues => "keys and values",
            Self::Spatial => "other layers",
        }
    }
}

/// How much an adapter acts on certain inputs, relative to a concept's own adapter on its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Disturbance {
    /// The number of the adapter that acts.
    pub by: usize,
    /// The number of the concept whose inputs they are; `None` for those of common prompts.
    pub on: Option<usize>,
    /// The mean over the layers of each group, in the order of [`LayerGroup::ALL`]; `None` where no layer
    /// is known.
    pub groups: [Option<f64>; 3],
    /// The largest of all layers, and where.
    pub worst: (f64, String),
}

impl Disturbance {
    /// The largest of the means: a single layer says little. NaN if one of them is.
    pub fn largest(&self) -> f64 {
        greatest(self.groups.iter().flatten().copied())
    }

    fn new(
        energies: &Energies,
        by: usize,
        on: Option<usize>,
        ratio: impl Fn(&SiteEnergies) -> Option<f64>,
    ) -> Option<Self> {
        let ratios = energies.sites.iter().filter_map(|site| Some((&site.site, ratio(site)?)));
        let ratios: Vec<(&Site, f64)> = ratios.collect();
        // In this order a NaN is the greatest, but for its sign.
        let (site, worst) = ratios.iter().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))?;
        let mean = |group: LayerGroup| {
            let of_group = ratios.iter().filter(|(site, _)| LayerGroup::of(site) == group);
            let (count, sum) = of_group.fold((0, 0.0), |(n, sum), (_, ratio)| (n + 1, sum + ratio));
            (count > 0).then(|| sum / f64::from(count))
        };
        let groups = LayerGroup::ALL.map(mean);
        Some(Self { by, on, groups, worst: (*worst, site.name.clone()) })
    }
}

/// How much each concept is disturbed by each other, the worst pair first. Pairs without a layer that both
/// adapt, or whose inputs are not known, are left out.
pub fn disturbances(energies: &Energies) -> Vec<Disturbance> {
    let count = energies.ids.len();
    let pairs = (0..count).flat_map(|i| (0..count).map(move |j| (i, j))).filter(|(i, j)| i != j);
    let of_pair = |(i, j): (usize, usize)| {
        Disturbance::new(energies, i, Some(j), |site| site.disturbance(i, j))
    };
    let mut all: Vec<Disturbance> = pairs.filter_map(of_pair).collect();
    all.sort_by(|a, b| b.largest().total_cmp(&a.largest()));
    all
}

/// How much each adapter answers to common prompts, relative to its own, the worst first.
pub fn shares_on_common(energies: &Energies) -> Vec<Disturbance> {
    let of = |i| Disturbance::new(energies, i, None, |site| site.share_on_common(i));
    let mut all: Vec<Disturbance> = (0..energies.ids.len()).filter_map(of).collect();
    all.sort_by(|a, b| b.largest().total_cmp(&a.largest()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lora::Role;

    fn site(name: &str, part: Part, role: Role) -> Site {
        Site { name: name.into(), inputs: 1, outputs: 1, part, role }
    }

    /// One adapter's energy on the other's inputs, where both have one on their own.
    fn energies(name: &str, part: Part, role: Role, on: f64, common: f64) -> SiteEnergies {
        let on = vec![vec![Some(1.0), Some(on)], vec![None, Some(1.0)]];
        let on_common = vec![Some(common), None];
        SiteEnergies { site: site(name, part, role), on, on_common }
    }

    #[test]
    fn layers_of_a_kind_are_averaged_and_the_worst_is_named() {
        let of = |name: &str, on| energies(name, Part::Denoiser, Role::CrossAttention, on, 0.25);
        let sites = vec![of("attn2.to_k", 0.04), of("attn2.to_v", 0.16), of("attn2.to_q", 0.01)];
        let found = Energies { ids: vec!["cat".into(), "dog".into()], sites };
        let pairs = disturbances(&found);
        assert_eq!(pairs.len(), 1, "what the second does is not known");
        let Disturbance { by, on, groups, worst } = &pairs[0];
        assert_eq!((*by, *on, groups[0]), (0, Some(1), None));
        assert!(
            (groups[1].unwrap() - 0.3).abs() < 1e-12 && (groups[2].unwrap() - 0.1).abs() < 1e-12
        );
        assert_eq!(worst.1, "attn2.to_v");
        assert!((worst.0 - 0.4).abs() < 1e-12 && (pairs[0].largest() - 0.3).abs() < 1e-12);
        let common = shares_on_common(&found);
        assert_eq!((common.len(), common[0].on), (1, None));
        assert!((common[0].groups[2].unwrap() - 0.5).abs() < 1e-12);
    }

    #[test]
    fn no_nan_vanishes_in_a_maximum() {
        for nan in [f64::NAN, -f64::NAN] {
            let of = |name: &str, role, on| energies(name, Part::Denoiser, role, on, 0.25);
            let sites = vec![
                of("attn2.to_k", Role::CrossAttention, nan),
                of("attn1.to_k", Role::SelfAttention, 0.16),
            ];
            let found = Energies { ids: vec!["cat".into(), "dog".into()], sites };
            let pair = &disturbances(&found)[0];
            assert!(pair.largest().is_nan() && pair.worst.0.is_nan());
        }
    }
}
