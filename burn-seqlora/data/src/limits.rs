//! How much a data set may hold: far more than can be trained on, and little enough to be read.

/// Images of a data set.
pub(crate) const IMAGES: usize = 10_000_000;

/// Concepts of a data set.
pub(crate) const CONCEPTS: usize = 100_000;

/// Bytes of a caption or a template; text encoders read 77 tokens of it.
pub(crate) const TEXT: usize = 65_536;

/// Bytes of the name of a class.
pub(crate) const CLASS: usize = 256;

/// Bytes of an image or mask file: 100 megapixels with four channels of 8 bits, and a margin.
pub(crate) const IMAGE_FILE: u64 = 512 << 20;
