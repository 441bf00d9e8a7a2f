//! Two concepts in one image: by a prompt that names both, and with a box for each.

use burn_seqlora::eval::report::PairScores;
use burn_seqlora::eval::to_pixels;
use burn_seqlora::kernels::KernelBackend;
use burn_seqlora::toy_world::identification::Identifier;
use image::RgbImage;

use super::concepts::ToyConcept;
use super::sample_cache::Request;

/// Images of each pair and layout.
const IMAGES: usize = 4;

/// Pairs at most.
const PAIRS: usize = 6;

/// How an image says where its two concepts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// By the words of the prompt alone.
    Prompt,
    /// By a box for each, whose prompt names that concept alone.
    Boxes,
}

impl Layout {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Prompt, Self::Boxes];
}

/// Two concepts and how they are laid out.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'a> {
    /// The left and the right one.
    pub concepts: [&'a ToyConcept; 2],
    /// How they are laid out.
    pub layout: Layout,
}

/// Neighbours in the order of learning, in both layouts. Every third of them are of one class.
pub fn pairs(concepts: &[ToyConcept]) -> impl Iterator<Item = Pair<'_>> {
    let neighbours = concepts.windows(2).take(PAIRS).map(|pair| [&pair[0], &pair[1]]);
    neighbours.flat_map(|concepts| Layout::ALL.map(|layout| Pair { concepts, layout }))
}

impl Pair<'_> {
    /// Its name in file names.
    pub fn name(&self) -> String {
        let [left, right] = self.concepts.map(|concept| &concept.source.id);
        match self.layout {
            Layout::Prompt => format!("{left}+{right}"),
            Layout::Boxes => format!("{left}+{right}-boxes"),
        }
    }

    /// What its images are asked for with, for people.
    pub fn title(&self) -> String {
        let prompt = self.prompt();
        match self.layout {
            Layout::Prompt => format!("“{prompt}”"),
            Layout::Boxes => format!("“{prompt}”, with a box for each"),
        }
    }

    fn prompt(&self) -> String {
        let [left, right] = self.concepts.map(ToyConcept::name);
        format!("a {left} left of a {right}")
    }

    /// The requests for its images, `side` pixels wide and high: all the same.
    pub fn requests(&self, side: usize) -> Vec<Request> {
        let regions = match self.layout {
            Layout::Prompt => Vec::new(),
            Layout::Boxes => {
                let boxes = [[0, 0, side / 2, side], [side / 2, 0, side, side]];
                let prompts = self.concepts.map(|concept| format!("a {}", concept.name()));
                boxes.into_iter().zip(prompts).collect()
            }
        };
        vec![Request { prompt: self.prompt(), regions }; IMAGES]
    }

    /// The share of images in which exactly its two individuals are found, each once.
    fn found<B: KernelBackend>(
        &self,
        images: &[RgbImage],
        identifier: &Identifier<'_, B>,
        device: &B::Device,
    ) -> f64 {
        let mut expected = self.concepts.map(|concept| concept.individual);
        expected.sort_unstable();
        let images: Vec<&RgbImage> = images.iter().collect();
        let found = identifier.individuals(to_pixels(&images, device));
        let right = found.iter().filter(|found| found[..] == expected).count();
        right as f64 / found.len().max(1) as f64
    }
}

/// The share of images in which both individuals are found, over all pairs.
pub fn pair_scores<'a, B: KernelBackend>(
    pairs: impl Iterator<Item = (Pair<'a>, &'a Vec<RgbImage>)>,
    identifier: &Identifier<'_, B>,
    device: &B::Device,
) -> PairScores {
    let pairs: Vec<_> = pairs.collect();
    let [prompt, boxes] = Layout::ALL.map(|layout| {
        let of_layout = pairs.iter().filter(|(pair, _)| pair.layout == layout);
        let shares: Vec<f64> =
            of_layout.map(|(pair, images)| pair.found(images, identifier, device)).collect();
        shares.iter().sum::<f64>() / shares.len().max(1) as f64
    });
    PairScores { prompt, boxes }
}
