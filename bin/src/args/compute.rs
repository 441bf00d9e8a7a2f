//! Where and how numbers are computed, for the commands that compute.

use burn_seqlora::precision::Precision;
use clap::Args as ClapArgs;

use super::parse::parse_name;
use crate::device::Device;

#[derive(Debug, Clone, ClapArgs)]
#[command(next_help_heading = "Computing")]
pub struct Compute {
    /// Where to compute: cpu, wgpu[:N] or cuda[:N]; `seqlora devices` lists them
    #[arg(long, default_value = "cpu")]
    pub device: Device,
    /// Seed of everything random [default: 0]
    #[arg(long)]
    pub seed: Option<u64>,
    /// What UNet and text encoder compute in: f32, f16 or bf16 (pretrain: f32 or bf16) [default: f32]
    #[arg(long, alias = "mixed_precision", value_parser = parse_precision)]
    pub precision: Option<Precision>,
}

/// A precision, also as accelerate calls it.
fn parse_precision(text: &str) -> Result<Precision, String> {
    parse_name(match text {
        "no" => "f32",
        "fp16" => "f16",
        text => text,
    })
}
