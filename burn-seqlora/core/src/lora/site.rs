//! The linear layers that can carry an adapter.

use serde::{Deserialize, Serialize};

/// The model that a site belongs to; each has its own learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The denoising network.
    Denoiser,
    /// The text encoder.
    TextEncoder,
}

/// What a site computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Query, key, value or output of attention of a sequence to itself.
    SelfAttention,
    /// Query, key, value or output of attention to the prompt.
    CrossAttention,
    /// A linear layer of a transformer block outside attention.
    FeedForward,
}

/// One linear layer `[outputs, inputs]` that can carry an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// The part's name and the module path that diffusers gives it, e.g.
    /// `unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q`.
    pub name: String,
    /// m: the number of input features.
    pub inputs: usize,
    /// n: the number of output features.
    pub outputs: usize,
    /// The model it belongs to.
    pub part: Part,
    /// What it computes.
    pub role: Role,
}

impl Site {
    /// Whether its inputs are the prompt's states: keys and values of attention to the prompt.
    pub fn reads_prompt(&self) -> bool {
        let suffixes = [".to_k", ".to_v"];
        self.role == Role::CrossAttention && suffixes.iter().any(|end| self.name.ends_with(end))
    }
}

/// All sites of a model, numbered in the order in which its layers are built.
#[derive(Debug, Clone, Default)]
pub struct SiteRegistry {
    sites: Vec<Site>,
}

impl SiteRegistry {
    /// Adds a site and returns its number.
    pub fn register(&mut self, site: Site) -> usize {
        self.sites.push(site);
        self.sites.len() - 1
    }

    /// The sites in order of their numbers.
    pub fn into_sites(self) -> Vec<Site> {
        self.sites
    }
}

/// Which sites are adapted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SiteSelection {
    /// Keys and values of the denoiser's attention to the prompt only, as Custom Diffusion (arXiv 2212.04488)
    /// trains them (32 sites in SD1.5).
    CrossAttentionKv,
    /// Attention of the denoiser to the prompt only (64 sites in SD1.5).
    CrossAttention,
    /// Every linear layer of attention, text encoder included (128 + 48 sites in SD1.5).
    #[default]
    Attention,
    /// Attention and feed-forward layers (160 + 72 sites in SD1.5).
    All,
}

impl SiteSelection {
    /// Whether `site` is adapted.
    pub fn contains(self, site: &Site) -> bool {
        match self {
            Self::CrossAttentionKv => site.reads_prompt(),
            Self::CrossAttention => site.role == Role::CrossAttention,
            Self::Attention => site.role != Role::FeedForward,
            Self::All => true,
        }
    }
}
