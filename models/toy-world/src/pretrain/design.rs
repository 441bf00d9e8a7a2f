//! The model that is trained: Stable Diffusion's architecture at a size for two cores.

use serde_json::json;

use crate::world::vocabulary;
use seqlora_models::blueprint::Blueprint;

/// Side of the pictures that the model is for.
pub const SIDE: usize = 64;

const LATENT_CHANNELS: usize = 8;

/// Pictures of 64², latents of 16², two levels, the coarse one with attention. Text and
/// cross-attention are 256 wide, so that 101 concepts fit there at rank 2.
///
/// The noise follows a cosine (Nichol & Dhariwal 2021, arXiv 2102.09672): Stable Diffusion's own
/// leaves so little of latents this small that most timesteps would teach nothing.
pub fn blueprint() -> Blueprint {
    let unet = json!({
        "_class_name": "UNet2DConditionModel",
        "sample_size": SIDE / 4,
        "in_channels": LATENT_CHANNELS,
        "out_channels": LATENT_CHANNELS,
        "block_out_channels": [64, 128],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        "layers_per_block": 1,
        "attention_head_dim": [2, 4],
        "cross_attention_dim": 256,
        "norm_num_groups": 16,
    });
    let text_encoder = json!({
        "model_type": "clip_text_model",
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 40,
    });
    let scheduler =
        json!({ "beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction" });
    Blueprint { unet, text_encoder, vae: vae(), scheduler, words: vocabulary() }
}

/// The VAE's configuration before its latents' scale is measured.
pub fn vae() -> serde_json::Value {
    json!({
        "_class_name": "AutoencoderKL",
        "block_out_channels": [16, 32, 64],
        "down_block_types": vec!["DownEncoderBlock2D"; 3],
        "up_block_types": vec!["UpDecoderBlock2D"; 3],
        "layers_per_block": 1,
        "latent_channels": LATENT_CHANNELS,
        "norm_num_groups": 8,
        "sample_size": SIDE,
        "scaling_factor": 1.0,
    })
}
