//! The table of metrics. Adding one is an entry here.

use seqlora_eval::{Measure, Metric, Pairwise, PromptScore, PromptSimilarity};
use seqlora_kernels::KernelBackend;

use super::loader::{Failure, Loader};
use super::places::Source;
use crate::preprocess::{Preprocessing, presets};

const DINO: Source = Source {
    key: "dino",
    names: &["facebook/dino-vits16", "timm/vit_small_patch16_224.dino"],
    file: None,
};
const DINO_V2: Source = Source {
    key: "dinov2",
    names: &["facebook/dinov2-base", "timm/vit_base_patch14_dinov2.lvd142m"],
    file: None,
};
const DINO_V2_S: Source = Source {
    key: "dinov2-s",
    names: &["facebook/dinov2-small", "timm/vit_small_patch14_dinov2.lvd142m"],
    file: None,
};
const DINO_V3: Source = Source {
    key: "dinov3",
    names: &["facebook/dinov3-vitb16-pretrain-lvd1689m", "timm/vit_base_patch16_dinov3.lvd1689m"],
    file: None,
};
const CLIP: Source = Source { key: "clip", names: &["openai/clip-vit-base-patch32"], file: None };
const DREAMSIM: Source = Source { key: "dreamsim", names: &["dreamsim"], file: None };
const HPS_V2: Source =
    Source { key: "hpsv2", names: &["xswu/HPSv2"], file: Some("HPS_v2_compressed.pt") };
const HPS_V2_1: Source =
    Source { key: "hpsv2.1", names: &["xswu/HPSv2"], file: Some("HPS_v2.1_compressed.pt") };
/// Every CLIP has the same tokenizer.
const TOKENIZER: Source = Source {
    key: "tokenizer",
    names: &["openai/clip-vit-base-patch32", "openai/clip-vit-large-patch14"],
    file: None,
};

/// A metric by its name.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    kind: Kind,
}

/// What a metric is made of.
#[derive(Debug)]
enum Kind {
    /// Similarity to the references, as one encoder sees it; `family` is what reports call it.
    Identity { family: &'static str, source: Source, preprocessing: Preprocessing },
    /// Similarity to the prompt, as CLIP sees it.
    Prompt(PromptScore),
    /// Distance to the references.
    DreamSim,
    /// Human preference, as HPSv2 ([arXiv 2306.09341](https://arxiv.org/abs/2306.09341)) predicts it: the
    /// cosine itself, of which tables often show a hundred times. Scores of different prompts or versions
    /// cannot be compared.
    Preference(Source),
}

/// All metrics.
pub(super) const TABLE: &[Entry] = &[
    identity("clip-i", "CLIP", CLIP, presets::CLIP),
    Entry { name: "clip-t", kind: Kind::Prompt(PromptScore::Cosine) },
    Entry { name: "clipscore", kind: Kind::Prompt(PromptScore::ClipScore) },
    identity("dino", "DINO", DINO, presets::DINO),
    identity("dinov2", "DINOv2", DINO_V2, presets::DINO),
    identity("dinov2-s", "DINOv2", DINO_V2_S, presets::DINO),
    identity("dinov3", "DINOv3", DINO_V3, presets::DINO_V3),
    Entry { name: "dreamsim", kind: Kind::DreamSim },
    Entry { name: "hpsv2", kind: Kind::Preference(HPS_V2) },
    Entry { name: "hpsv2.1", kind: Kind::Preference(HPS_V2_1) },
];

const fn identity(
    name: &'static str,
    family: &'static str,
    source: Source,
    preprocessing: Preprocessing,
) -> Entry {
    Entry { name, kind: Kind::Identity { family, source, preprocessing } }
}

/// The names of the metrics of the paper that need no external scorer.
pub const DEFAULT: [&str; 8] =
    ["clip-i", "clip-t", "clipscore", "dino", "dinov2", "dinov3", "dreamsim", "hpsv2.1"];

/// All names.
pub fn names() -> Vec<&'static str> {
    TABLE.iter().map(|entry| entry.name).collect()
}

impl Entry {
    /// The metric, with its networks loaded.
    pub(super) fn load<B: KernelBackend>(
        &self,
        loader: &Loader<'_, B>,
    ) -> Result<Box<dyn Metric>, Failure> {
        let name = self.name;
        let prompt = |source: &Source, family, preprocessing, score| {
            let images = loader.images(family, source, preprocessing)?;
            let texts = loader.texts(source, &TOKENIZER)?;
            let prompts = loader.prompts.clone();
            Ok::<_, Failure>(PromptSimilarity::new(name, images, texts, score, prompts))
        };
        Ok(match &self.kind {
            Kind::Identity { family, source, preprocessing } => {
                let embedder = loader.images(family, source, *preprocessing)?;
                Box::new(Pairwise::new(name, embedder, Measure::Cosine))
            }
            Kind::Prompt(score) => Box::new(prompt(&CLIP, "CLIP", presets::CLIP, *score)?),
            Kind::DreamSim => {
                let embedder = loader.dreamsim(&DREAMSIM)?;
                Box::new(Pairwise::new(name, embedder, Measure::Distance))
            }
            Kind::Preference(source) => {
                Box::new(prompt(source, "HPSv2", presets::HPS_V2, PromptScore::Cosine)?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_there_once() {
        let all: BTreeSet<_> = names().into_iter().collect();
        assert_eq!(all.len(), TABLE.len());
        assert!(DEFAULT.iter().all(|name| all.contains(name)));
    }
}
