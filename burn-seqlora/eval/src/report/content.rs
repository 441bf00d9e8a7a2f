//! What the page shows, as plain data.

use image::RgbImage;

use super::summary::Summary;
use crate::Stages;

/// All that the page shows, as plain data.
#[derive(Debug, Clone)]
pub struct Report {
    /// The page's title.
    pub title: String,
    /// What was done, in a sentence or two.
    pub lead: String,
    /// What the numbers do not say, in a few sentences; may be empty.
    pub limits: String,
    /// The command that made it.
    pub command: String,
    /// The numbers.
    pub summary: Summary,
    /// The images of the summary's concepts, in their order.
    pub concepts: Vec<ConceptImages>,
    /// Images of two concepts at once.
    pub pairs: Vec<PairImages>,
    /// The loss of each step of each concept, for each method in the summary's order.
    pub losses: Vec<Vec<Vec<f64>>>,
    /// A longer run that was made before.
    pub recorded: Option<RecordedRun>,
}

/// The numbers of a run that was made before.
#[derive(Debug, Clone)]
pub struct RecordedRun {
    /// How it was made: the command, the commit, the machine.
    pub source: String,
    /// Its numbers.
    pub summary: Summary,
}

/// The images of one concept.
#[derive(Debug, Clone, Default)]
pub struct ConceptImages {
    /// What it was learnt from.
    pub references: Vec<RgbImage>,
    /// The base model's images of its class.
    pub base: Vec<RgbImage>,
    /// The base model's images of its description in words; may be empty.
    pub described: Vec<RgbImage>,
    /// What each method of the summary generates, in their order.
    pub generated: Vec<Stages<Vec<RgbImage>>>,
}

/// Images of two concepts at once.
#[derive(Debug, Clone, Default)]
pub struct PairImages {
    /// What was asked for.
    pub title: String,
    /// What each method of the summary generates, in their order.
    pub generated: Vec<Vec<RgbImage>>,
}
