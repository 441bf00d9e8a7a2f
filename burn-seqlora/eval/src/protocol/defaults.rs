//! Prompts where the data bring none.

/// For any single concept: places, light, style and properties, as the published lists mix them.
pub const SINGLE: [&str; 20] = [
    "a photo of a {}",
    "a close-up photo of a {}",
    "a {} on a wooden table",
    "a {} on a sandy beach",
    "a {} in the snow",
    "a {} in a forest in autumn",
    "a {} on a city street at night",
    "a {} in front of a brick wall",
    "a {} beside a river",
    "a {} on top of a mountain",
    "a {} in a field of sunflowers",
    "a {} in the rain",
    "a photo of a {} seen from above",
    "a photo of a {} at sunset",
    "a black and white photo of a {}",
    "an oil painting of a {}",
    "a watercolor painting of a {}",
    "a pencil drawing of a {}",
    "a {} made of glass",
    "a small {} beside a large cardboard box",
];

/// For any two concepts.
pub const PAIR: [&str; 4] = [
    "a photo of a {0} and a {1}",
    "a {0} beside a {1} on a beach",
    "a {0} and a {1} in the snow",
    "an oil painting of a {0} and a {1}",
];

/// About nothing that is usually learnt.
pub const UNRELATED: [&str; 10] = [
    "a bowl of soup on a wooden table",
    "a snowy mountain range under a clear sky",
    "a crowded market street in the morning",
    "an old stone bridge over a river",
    "a bookshelf filled with books",
    "a sailing ship in a storm",
    "a red bicycle leaning against a wall",
    "a city skyline at night",
    "a field of wheat under dark clouds",
    "a slice of cake on a plate",
];

/// For the box of one concept in an image of two.
pub const BOX: &str = "a photo of a {}";
