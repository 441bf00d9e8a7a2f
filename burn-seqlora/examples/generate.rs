//! From a prompt to an image, with the small model that comes with the source tree.
//!
//! ```sh
//! cargo run --release -p burn-seqlora --example generate -- "a red car left of a blue house on grass"
//! ```

use std::error::Error;

use burn_seqlora::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    let text = std::env::args().nth(1).unwrap_or("a red car left of a blue house on grass".into());

    // The type says what computes: `Flex` is Burn's CPU backend. A folder in diffusers' layout or a
    // .safetensors file stands in the place of "builtin" for any Stable Diffusion 1.x or 2.x.
    let pipeline = Pipeline::<Flex>::load("builtin")?;

    // The same seed and number give the same image on every run.
    for number in 0..2 {
        let prompt = Prompt::new(&text).seed(7).number(number).steps(12);
        let path = std::env::temp_dir().join(format!("seqlora-generate-{number}.png"));
        pipeline.generate(prompt)?.save(&path)?;
        println!("{}", path.display());
    }
    Ok(())
}
