//! The architecture of the model: Stable Diffusion's, small enough to be trained on two CPU cores.

use serde_json::json;

use crate::world::vocabulary;
use seqlora_models::blueprint::Blueprint;

/// Width and height of the images that the model is made for, in pixels.
pub const SIDE: usize = 64;

const LATENT_CHANNELS: usize = 8;

/// The configurations of all parts and the words of the tokenizer.
///
/// Images have 64 × 64 pixels and latents 16 × 16. The UNet has two levels, both of which
/// has attention. Text states and cross-attention are 256 wide, so that 101 concepts of rank 2 fit
/// there with orthogonal directions.
///
/// The noise schedule is the cosine schedule (Nichol & Dhariwal 2021, arXiv 2102.09672). With
/// Stable Diffusion's schedule, latents of this size would be almost pure noise at most timesteps.
pub fn blueprint() -> Blueprint {
    let unet = json!({
        "_class_name": "UNet2DConditionModel",
        "sample_size": SIDE / 4,
        "in_channels": LATENT_CHANNELS,
        "out_channels": LATENT_CHANNELS,
        "block_out_channels": [72, 144],
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        "layers_per_block": 1,
        "attention_head_dim": [2, 4],
        "cross_attention_dim": 256,
        "norm_num_groups": 8,
    });
    let text_encoder = json!({
        "model_type": "clip_text_model",
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 48,
    });
    let scheduler =
        json!({ "beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction" });
    Blueprint { unet, text_encoder, vae: vae(), scheduler, words: vocabulary() }
}

/// The configuration of the VAE before the scale of its latents is measured.
pub fn vae() -> serde_json::Value {
    json!({
        "_class_name": "AutoencoderKL",
        "block_out_channels": [24, 48, 96],
        "down_block_types": vec!["DownEncoderBlock2D"; 3],
        "up_block_types": vec!["UpDecoderBlock2D"; 3],
        "layers_per_block": 1,
        "latent_channels": LATENT_CHANNELS,
        "norm_num_groups": 8,
        "sample_size": SIDE,
        "scaling_factor": 1.0,
    })
}
