//! How much rank a layer still has: earlier concepts each take their directions for good.

use crate::lora::Site;
use crate::methods::Constraint;
use crate::settings::TrainConfig;

/// The rank that the next concept gets at each site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapacityPlan {
    /// One rank per site; 0 where the site is not selected or has nothing left.
    pub ranks: Vec<usize>,
    /// Selected sites whose rank is below the wanted one: earlier concepts or the layer's size leave less.
    pub shrunk: Vec<usize>,
    /// Selected sites with nothing left.
    pub full: Vec<usize>,
}

/// Plans ranks: `min(rank, m − used)`, and at most `m / concepts` where the number of concepts is
/// announced and the method is orthogonal, so that all of them get the same share. m is the size of the
/// subspace, if there is one, without the protected directions. No rank is above the layer's own sizes.
///
/// `used` holds the directions that earlier concepts reserve, per site; without a constraint they are of
/// no concern.
pub fn plan_ranks(
    sites: &[Site],
    used: &[usize],
    config: &TrainConfig,
    constraint: Constraint,
) -> CapacityPlan {
    let orthogonal = constraint.is_orthogonal();
    let announced = config.concepts.filter(|_| orthogonal);
    let mut plan = CapacityPlan { ranks: Vec::new(), shrunk: Vec::new(), full: Vec::new() };
    for (number, (site, used)) in sites.iter().zip(used).enumerate() {
        if !config.sites.contains(site) {
            plan.ranks.push(0);
            continue;
        }
        let inputs = match orthogonal {
            true => config.directions_at(site),
            false => site.inputs,
        };
        let share = announced.map_or(config.rank, |n| (inputs / n.max(1)).max(1));
        // A has n rows: a rank above that adds nothing.
        let wanted = config.rank.min(site.outputs);
        let given =
            wanted.min(share).min(inputs.saturating_sub(if orthogonal { *used } else { 0 }));
        match given {
            0 => plan.full.push(number),
            r if r < config.rank => plan.shrunk.push(number),
            _ => {}
        }
        plan.ranks.push(given);
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lora::{Part, Role, SiteSelection};

    const ORTHOGONAL: Constraint = Constraint::EarlierConcepts;

    fn site(inputs: usize, role: Role) -> Site {
        Site { name: "s".into(), inputs, outputs: 64, part: Part::Denoiser, role }
    }

    fn config(sites: SiteSelection, rank: usize) -> TrainConfig {
        TrainConfig { sites, rank, ..TrainConfig::default() }
    }

    /// m = 8, r = 3 gives ranks 3, 3, 2, 0.
    #[test]
    fn ranks_shrink_and_then_the_layer_is_full() {
        let sites = [site(8, Role::SelfAttention)];
        let mut used = 0;
        let ranks: Vec<usize> = (0..4)
            .map(|_| {
                let plan =
                    plan_ranks(&sites, &[used], &config(SiteSelection::Attention, 3), ORTHOGONAL);
                used += plan.ranks[0];
                plan.ranks[0]
            })
            .collect();
        assert_eq!(ranks, [3, 3, 2, 0]);
    }

    /// 101 concepts at r = 4 get 3, 4, 4, 4 at m = 320, 640, 768, 1280.
    #[test]
    fn an_announced_number_of_concepts_shares_out_the_directions() {
        let sites = [320, 640, 768, 1280].map(|m| site(m, Role::CrossAttention));
        let config = TrainConfig { concepts: Some(101), ..config(SiteSelection::All, 4) };
        let plan = plan_ranks(&sites, &[0; 4], &config, ORTHOGONAL);
        assert_eq!(plan.ranks, [3, 4, 4, 4]);
        assert_eq!(plan.shrunk, [0]);
    }

    /// Of 8 directions 3 are protected where a prompt is read.
    #[test]
    fn protected_directions_are_no_capacity() {
        let sites = ["attn2.to_k", "attn2.to_q"]
            .map(|name| Site { name: format!("unet.{name}"), ..site(8, Role::CrossAttention) });
        let config = TrainConfig { protected_directions: 3, ..config(SiteSelection::Attention, 4) };
        assert_eq!(plan_ranks(&sites, &[4; 2], &config, ORTHOGONAL).ranks, [1, 4]);
        assert_eq!(plan_ranks(&sites, &[5; 2], &config, ORTHOGONAL).full, [0]);
        let two = TrainConfig { concepts: Some(2), ..config.clone() };
        assert_eq!(plan_ranks(&sites, &[0; 2], &two, ORTHOGONAL).ranks, [2, 4]);
        assert_eq!(plan_ranks(&sites, &[8; 2], &config, Constraint::None).ranks, [4, 4]);
    }

    /// A layer of 8 inputs and 64 outputs has rank 8 at most, with and without the constraint.
    #[test]
    fn ranks_above_the_layers_sizes_are_counted() {
        for constraint in [ORTHOGONAL, Constraint::None] {
            let config = config(SiteSelection::Attention, 100);
            let plan = plan_ranks(&[site(8, Role::SelfAttention)], &[0], &config, constraint);
            assert_eq!((plan.ranks, plan.shrunk), (vec![8], vec![0]));
            let plan = plan_ranks(&[site(80, Role::SelfAttention)], &[0], &config, constraint);
            assert_eq!((plan.ranks, plan.shrunk), (vec![64], vec![0]));
        }
    }

    #[test]
    fn unselected_sites_get_no_rank_and_no_warning() {
        let sites = [site(8, Role::FeedForward)];
        let plan = plan_ranks(&sites, &[8], &config(SiteSelection::Attention, 4), ORTHOGONAL);
        assert_eq!(plan, CapacityPlan { ranks: vec![0], shrunk: vec![], full: vec![] });
    }
}
