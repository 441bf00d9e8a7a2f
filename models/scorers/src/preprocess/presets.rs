//! The preprocessing of each metric.

use super::filter::Filter;
use super::spec::{Arithmetic, Preprocessing, Resize};

/// Mean and standard deviation of ImageNet's channels.
const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
/// Those of CLIP's training images.
const CLIP_IMAGES: ([f32; 3], [f32; 3]) =
    ([0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_6, 0.275_777_1]);

/// DINO and DINOv2, as the evaluations of CustomConcept101 and DINOv2 do it.
pub const DINO: Preprocessing = Preprocessing {
    resize: Resize::ShortSide { short: 256, side: 224 },
    filter: Filter::Bicubic,
    arithmetic: Arithmetic::Bytes,
    mean: IMAGENET.0,
    std: IMAGENET.1,
};

/// DINOv3, as transformers' processor does it.
pub const DINO_V3: Preprocessing = Preprocessing {
    resize: Resize::Squash { side: 224 },
    filter: Filter::Bilinear,
    arithmetic: Arithmetic::Floats,
    ..DINO
};

/// CLIP.
pub const CLIP: Preprocessing = Preprocessing {
    resize: Resize::ShortSide { short: 224, side: 224 },
    filter: Filter::Bicubic,
    arithmetic: Arithmetic::Bytes,
    mean: CLIP_IMAGES.0,
    std: CLIP_IMAGES.1,
};

/// DreamSim's images, which its encoders normalise by statistics of their own.
pub const DREAMSIM: Preprocessing = Preprocessing {
    resize: Resize::Squash { side: 224 },
    filter: Filter::Bicubic,
    arithmetic: Arithmetic::Bytes,
    mean: [0.0; 3],
    std: [1.0; 3],
};

/// HPSv2 with a present torchvision.
pub const HPS_V2: Preprocessing = Preprocessing {
    resize: Resize::LongSide { side: 224 },
    filter: Filter::Bicubic,
    arithmetic: Arithmetic::Floats,
    mean: CLIP_IMAGES.0,
    std: CLIP_IMAGES.1,
};

/// HPSv2 with torchvision before 0.17, which its published tables were made with.
pub const HPS_V2_LEGACY: Preprocessing =
    Preprocessing { arithmetic: Arithmetic::FloatsWithoutAntialiasing, ..HPS_V2 };

/// The statistics of DreamSim's three encoders: mean and standard deviation of each channel.
pub const DREAMSIM_STATISTICS: [([f32; 3], [f32; 3]); 3] = [IMAGENET, CLIP_IMAGES, CLIP_IMAGES];
