//! The built-in prompt templates. `{}` stands for the concept's words, which include its class.

/// The part of a template that the concept's words replace.
pub(crate) const PLACEHOLDER: &str = "{}";

/// Templates for things and animals.
pub(crate) const OBJECT: [&str; 27] = [
    "a photo of a {}",
    "a photo of the {}",
    "a photo of one {}",
    "a photo of my {}",
    "a nice photo of a {}",
    "a good photo of the {}",
    "a clean photo of a {}",
    "a sharp photo of the {}",
    "a bright photo of a {}",
    "a dark photo of the {}",
    "a small photo of a {}",
    "a large photo of the {}",
    "a cool photo of a {}",
    "a strange photo of the {}",
    "a close-up photo of a {}",
    "a close-up of the {}",
    "a cropped picture of a {}",
    "a blurry picture of the {}",
    "a grainy picture of a {}",
    "a detailed picture of the {}",
    "a simple picture of a {}",
    "a snapshot of the {}",
    "an amateur photo of a {}",
    "a studio photo of the {}",
    "a depiction of a {}",
    "an image of the {}",
    "an image of a {}",
];

/// Templates for people: without an article, because a concept is one person.
pub(crate) const HUMAN: [&str; 19] = [
    "a photo of {}",
    "a portrait of {}",
    "a close-up portrait of {}",
    "a studio portrait of {}",
    "a candid photo of {}",
    "a snapshot of {}",
    "a nice photo of {}",
    "a good photo of {}",
    "a sharp photo of {}",
    "a bright photo of {}",
    "a dark photo of {}",
    "a cropped photo of {}",
    "a close-up photo of {}",
    "a blurry photo of {}",
    "a cool photo of {}",
    "an amateur photo of {}",
    "a detailed picture of {}",
    "a depiction of {}",
    "an image of {}",
];

/// Templates for artistic styles.
pub(crate) const STYLE: [&str; 19] = [
    "a picture in the style of {}",
    "a painting in the style of {}",
    "a drawing in the style of {}",
    "an illustration in the style of {}",
    "an artwork in the style of {}",
    "a print in the style of {}",
    "an image in the style of {}",
    "a small picture in the style of {}",
    "a large picture in the style of {}",
    "a bright picture in the style of {}",
    "a dark picture in the style of {}",
    "a simple picture in the style of {}",
    "a detailed picture in the style of {}",
    "a clean picture in the style of {}",
    "a cropped picture in the style of {}",
    "a close-up picture in the style of {}",
    "a nice artwork in the style of {}",
    "a cool artwork in the style of {}",
    "a strange artwork in the style of {}",
];
