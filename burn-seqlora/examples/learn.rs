//! Two concepts, one after the other, from folders of images into one bank; then both in one image.
//!
//! ```sh
//! cargo run --release -p burn-seqlora --example learn
//! ```

mod drawn_photos;

use std::error::Error;

use burn_seqlora::data::Transform;
use burn_seqlora::prelude::*;
use burn_seqlora::train::Event;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let (photos, bank) = (folder.path().join("photos"), folder.path().join("bank"));
    drawn_photos::draw_mugs(&photos)?;

    // `Autodiff` records what gradients need. The defaults are for Stable Diffusion 1.5 and real photos;
    // a small model takes higher learning rates. 10 steps take seconds; 80 and more are usual.
    let model = Model::<Autodiff<Flex>>::load("builtin")?;
    let config = TrainConfig {
        steps: 10,
        outer: 1,
        crops: 1,
        transform: Transform::CenterCrop,
        lr_unet: 2e-3,
        lr_text: 5e-4,
        lr_token: 3e-2,
        token_norm_limit: 100.0,
        ..TrainConfig::default()
    };

    // Without events, `learn(&photos, &bank, &model, &config)` does the same. `Flow::Stop` would end
    // the run after saving its state.
    let learnt = Learning::new(&model, &config).run(&photos, &bank, |event| {
        if let Event::Learnt { id, training } = event {
            println!("<{id}>: loss {:.4} to {:.4}", training.initial_loss, training.final_loss);
        }
        Flow::Continue
    })?;
    assert_eq!(learnt.concepts, ["mug-1", "mug-2"]);

    // All concepts of the bank are there at once; `with_concepts` chooses some, and how strongly.
    let pipeline = Pipeline::new(model).with_bank(&bank)?;
    let prompt = Prompt::new("<mug-1> left of <mug-2> on a plain white background").steps(12);
    let path = std::env::temp_dir().join("seqlora-learn.png");
    pipeline.generate(prompt)?.save(&path)?;
    println!("{}", path.display());
    Ok(())
}
