//! What to do about adapters that interfere.

use burn_seqlora::audit::{Disturbance, PairWeights};

/// From here on an adapter changes the outputs for another concept by half of what the concept's own
/// adapter does: one is not seen without the other any more.
const DISTURBING: f64 = 0.5;

/// From here on an adapter answers to prompts without it by half of what it does to its own.
const ON_COMMON: f64 = 0.5;

/// Random subspaces vary: at rank 4 of 320 the multiple of the mean has a standard deviation of about 0.35
/// at one layer.
const OVERLAPPING: f64 = 2.0;

/// One sentence for each thing that can be done, with the adapters that it is about.
pub fn advice(
    ids: &[String],
    weights: &[PairWeights],
    pairs: Option<(&[Disturbance], &[Disturbance])>,
) -> Vec<String> {
    let mut advice = Vec::new();
    let (disturbing, on_common) = pairs.unwrap_or_default();
    let disturbing: Vec<String> = disturbing
        .iter()
        .filter(|pair| pair.largest() >= DISTURBING)
        .filter_map(|pair| Some(format!("{} on {}", ids[pair.by], ids[pair.on?])))
        .collect();
    if !disturbing.is_empty() {
        advice.push(format!(
            "{}: the first changes the images of the second by more than {DISTURBING} of what its own adapter \
             does. Leave out what an image does not need (`generate --concept`), lower the first one's \
             strength, give each a box (`--region`), or make one weight of both (`fuse`)",
            few(&disturbing)
        ));
    }
    let on_common: Vec<String> = on_common
        .iter()
        .filter(|share| share.groups[1].is_some_and(|share| share >= ON_COMMON))
        .map(|share| ids[share.by].clone())
        .collect();
    if !on_common.is_empty() {
        advice.push(format!(
            "{}: keys and values answer to prompts without it as to its own. If it was trained for a few steps \
             only, train longer; otherwise learn it again with `protected_directions` and `common_prompts` \
             in --config",
            few(&on_common)
        ));
    }
    let overlapping: Vec<String> = weights
        .iter()
        .filter(|pair| pair.mean_relative() >= OVERLAPPING)
        .map(|pair| format!("{} and {}", ids[pair.pair[0]], ids[pair.pair[1]]))
        .collect();
    if !overlapping.is_empty() {
        advice.push(format!(
            "{}: their subspaces overlap {OVERLAPPING} times as much as random ones or more. Learn them one after the \
             other in one bank with `--method seqlora` or `alternating`, which keeps them apart, or `fuse` \
             them",
            few(&overlapping)
        ));
    }
    advice
}

/// The first three of a list.
fn few(names: &[String]) -> String {
    let shown = names.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    match names.len() {
        0..=3 => shown,
        more => format!("{shown} and {} more", more - 3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disturbance(by: usize, on: Option<usize>, value: f64) -> Disturbance {
        Disturbance { by, on, groups: [None, Some(value), None], worst: (value, "k".into()) }
    }

    #[test]
    fn only_what_disturbs_is_named() {
        let ids = ["cat", "dog", "mug"].map(String::from);
        let pairs = [disturbance(0, Some(1), 0.8), disturbance(1, Some(0), 0.2)];
        let common = [disturbance(2, None, 0.6), disturbance(0, None, 0.1)];
        let found = advice(&ids, &[], Some((&pairs, &common)));
        assert_eq!(found.len(), 2);
        assert!(found[0].starts_with("cat on dog: ") && !found[0].contains("dog on cat"));
        assert!(found[1].starts_with("mug: keys and values"));
        assert!(advice(&ids, &[], Some((&pairs[1..], &common[1..]))).is_empty());
        assert!(advice(&ids, &[], None).is_empty());
        let many = ["a", "b", "c", "d", "e"].map(String::from);
        assert_eq!(few(&many), "a, b, c and 2 more");
    }
}
