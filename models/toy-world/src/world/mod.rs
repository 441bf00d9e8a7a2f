//! A procedural world: captioned scenes of simple objects, sampled from a seed.
//!
//! A [`Scene`] is data: one or two objects before a background. It renders to an [`Image`] of any
//! size, has captions in a closed [`vocabulary`], and has a known ground truth. So a small
//! text-to-image model can be trained and evaluated without a data set.
//!
//! - A [`Description`] is what a caption states. Captions are written from descriptions and parsed
//!   back into them. Scenes are sampled from descriptions, and a description can be checked against
//!   a [`Truth`].
//! - A [`Split`] holds some combinations of attributes out of training, to measure compositional
//!   generalisation.
//! - An [`Individual`] is an object that a name stands for. Its captions say its name and its class only.
//!   Individuals are the concepts that are learnt.
//!
//! ```
//! use seqlora_toy_world::world::{Description, Individual, Scene, SceneOptions, Seed};
//!
//! let seed = Seed::new(0);
//! let scene = Scene::random(&seed, 7, &SceneOptions::default());
//! let stated = scene.partial_description(&mut seed.fork("caption").at(7));
//! assert!(stated.matches(&scene.truth()));
//! assert_eq!(scene.render(64).rgb.len(), 64 * 64 * 3);
//!
//! let caption = stated.caption(&mut seed.fork("words").at(7));
//! assert_eq!(Description::parse(&caption), Some(stated));
//!
//! let references = Individual::of(42).references(&seed, 5);
//! assert_eq!(references[0].truth().objects[0].individual, Some(42));
//! ```

pub mod background;
mod canvas;
mod caption;
pub mod class;
pub mod colour;
pub mod description;
mod drawing;
pub mod individual;
mod layout;
pub mod look;
pub mod marking;
pub mod object;
mod parse;
mod path;
pub mod pose;
pub mod relation;
pub mod sample;
pub mod scene;
pub mod split;
pub mod truth;
mod vocabulary;

pub use background::Background;
pub use canvas::Image;
pub use class::Class;
pub use colour::{Colour, Rgb};
pub use description::{Description, ObjectDescription};
pub use individual::Individual;
pub use look::Look;
pub use marking::Marking;
pub use object::Object;
pub use pose::{Bounds, Pose};
pub use relation::Relation;
pub use sample::SceneOptions;
pub use scene::Scene;
pub use seqlora_core::rng::Seed;
pub use split::Split;
pub use truth::{ObjectTruth, Truth};
pub use vocabulary::{unknown_words, vocabulary};
