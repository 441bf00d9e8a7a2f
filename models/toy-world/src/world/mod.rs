//! A procedural picture world: captioned scenes of simple objects, drawn from a seed.
//!
//! A [`Scene`] is data: one or two objects before a background. It renders to a [`Picture`] of any
//! size, tells itself in captions of a closed [`vocabulary`], and carries its ground truth, so that
//! a small text-to-image model can be trained on the world and measured without any data set.
//!
//! - A [`Description`] is what a caption asks for. Captions are written from descriptions and
//!   parsed back into them, and a description can be drawn and checked against a [`Truth`].
//! - A [`Split`] keeps some combinations from training, to measure how well known words are put
//!   together in new ways.
//! - An [`Individual`] is an object whose look no caption can tell: what concepts are learnt from.
//!
//! ```
//! use crate::world::{Description, Individual, Scene, SceneOptions, Seed};
//!
//! let seed = Seed::new(0);
//! let scene = Scene::random(&seed, 7, &SceneOptions::default());
//! let told = scene.told(&mut seed.fork("caption").at(7));
//! assert!(told.is_met_by(&scene.truth()));
//! assert_eq!(scene.render(64).rgb.len(), 64 * 64 * 3);
//!
//! let caption = told.caption(&mut seed.fork("words").at(7));
//! assert_eq!(Description::parse(&caption), Some(told));
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
pub mod face;
pub mod individual;
mod layout;
pub mod look;
pub mod object;
mod parse;
mod path;
pub mod pattern;
pub mod pose;
pub mod relation;

pub mod scene;
pub mod split;
pub mod truth;
mod vocabulary;

pub use background::Background;
pub use canvas::Picture;
pub use class::Class;
pub use colour::{Colour, Rgb};
pub use description::{Description, Wanted};
pub use individual::Individual;
pub use look::{Look, Traits};
pub use object::{Identity, Object};
pub use pattern::{Decoration, Motif, Pattern};
pub use pose::{Bounds, Pose, Size};
pub use relation::Relation;
pub use scene::{Scene, SceneOptions};
pub use seqlora_core::rng::Seed;
pub use split::Split;
pub use truth::{Seen, Truth};
pub use vocabulary::{unknown_words, vocabulary};
