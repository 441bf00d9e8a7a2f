//! How much rank a layer still has: earlier concepts each take their directions for good.

use super::{Site, SiteSelection};

/// The rank that the next concept gets at each site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapacityPlan {
    /// One rank per site; 0 where the site is not selected or has nothing left.
    pub ranks: Vec<usize>,
    /// Selected sites whose rank is below the wanted one.
    pub shrunk: Vec<usize>,
    /// Selected sites with nothing left.
    pub full: Vec<usize>,
}

/// Plans ranks: `min(rank, m − used)`, and at most `m / concepts` where the
/// number of concepts is announced, so that all of them get the same share.
///
/// `used` holds the directions that earlier concepts occupy, per site.
pub fn plan_ranks(
    sites: &[Site],
    selection: SiteSelection,
    used: &[usize],
    rank: usize,
    announced: Option<usize>,
) -> CapacityPlan {
    let mut plan = CapacityPlan { ranks: Vec::new(), shrunk: Vec::new(), full: Vec::new() };
    for (number, (site, used)) in sites.iter().zip(used).enumerate() {
        if !selection.contains(site) {
            plan.ranks.push(0);
            continue;
        }
        let share = announced.map_or(rank, |n| (site.inputs / n.max(1)).max(1));
        // A has n rows: a rank above that adds nothing.
        let wanted = rank.min(site.outputs);
        let given = wanted.min(share).min(site.inputs.saturating_sub(*used));
        match given {
            0 => plan.full.push(number),
            r if r < wanted => plan.shrunk.push(number),
            _ => {}
        }
        plan.ranks.push(given);
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::{Part, Role};

    fn site(inputs: usize, role: Role) -> Site {
        Site { name: "s".into(), inputs, outputs: 64, part: Part::Denoiser, role }
    }

    /// m = 8, r = 3 gives ranks 3, 3, 2, 0.
    #[test]
    fn ranks_shrink_and_then_the_layer_is_full() {
        let sites = [site(8, Role::SelfAttention)];
        let mut used = 0;
        let ranks: Vec<usize> = (0..4)
            .map(|_| {
                let plan = plan_ranks(&sites, SiteSelection::Attention, &[used], 3, None);
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
        let plan = plan_ranks(&sites, SiteSelection::All, &[0; 4], 4, Some(101));
        assert_eq!(plan.ranks, [3, 4, 4, 4]);
        assert_eq!(plan.shrunk, [0]);
    }

    #[test]
    fn unselected_sites_get_no_rank_and_no_warning() {
        let sites = [site(8, Role::FeedForward)];
        let plan = plan_ranks(&sites, SiteSelection::Attention, &[8], 4, None);
        assert_eq!(plan, CapacityPlan { ranks: vec![0], shrunk: vec![], full: vec![] });
    }
}
