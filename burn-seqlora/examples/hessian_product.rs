//! Second derivatives of an objective of one's own: how curved is it in the factors A of an adapter?
//!
//! The objective asks the text encoder to read "a red ball" as it reads "a blue ball" without an
//! adapter. Power iteration `v ← H v / ‖H v‖` finds the largest eigenvalue of its Hessian, with exact
//! products `H v` that each take one pass forward and one backward.
//!
//! ```sh
//! cargo run --release -p burn-seqlora --example hessian_product
//! ```

use std::error::Error;

use burn_seqlora::burn::tensor::Tensor;
use burn_seqlora::jvp::Dual;
use burn_seqlora::lora::{AdapterSet, DualAdapters, Factors, Part, Site};
use burn_seqlora::model::{DiffusionModel, TextEncoder};
use burn_seqlora::objective::{ConceptParameters, hessian_product};
use burn_seqlora::prelude::*;
use burn_seqlora::rng::{Seed, normal};
use burn_seqlora::text::{Piece, TextBatch, Vocabulary};

type B = Autodiff<Flex>;

/// What the text encoder makes of a prompt: a tensor, with its derivative along the adapters' tangent.
fn encode(Model { model, .. }: &Model<B>, text: &str, adapters: &DualAdapters<B>) -> Dual<B, 3> {
    let tokens = model.tokenize(&[Piece::Text(text.into())]).expect("plain words");
    let batch = TextBatch::new(&[tokens], &Vocabulary::default(), 1, &model.device());
    model.encode_text(&batch, None, adapters).context.layer(0)
}

fn main() -> Result<(), Box<dyn Error>> {
    let model = Model::<B>::load("builtin")?;
    let target = encode(&model, "a blue ball", &DualAdapters::none()).primal;
    let loss = |adapters: &DualAdapters<B>, _: Option<&Tensor<B, 2>>| {
        let error = encode(&model, "a red ball", adapters).add_constant(-target.clone());
        (error.clone() * error).sum()
    };

    // Rank 2 at every layer of the text encoder: A is zero and B random, as LoRA begins.
    let factors = |rows: fn(&Site) -> usize, scale: f64| -> Factors<Flex> {
        let matrix = |site: &Site| {
            let mut rng = Seed::new(0).fork(&site.name).at(0);
            let random = normal([rows(site), 2], &mut rng, &Default::default());
            (site.part == Part::TextEncoder).then(|| random.mul_scalar(scale))
        };
        Factors::new(model.model.sites().iter().map(matrix).collect())
    };
    let (up, down) = (factors(|site| site.outputs, 0.0), factors(|site| site.inputs, 0.1));
    let mut direction = up.ones_like();
    let at = ConceptParameters { adapters: AdapterSet { up, down }, embeddings: None };
    for _ in 0..24 {
        direction = direction.map_elements(|v| v.div_scalar(direction.norm()));
        direction = hessian_product::<B>(&loss, &at, &direction).up;
    }
    println!("largest eigenvalue of the Hessian in A: {:.2}", direction.norm());
    Ok(())
}
