//! Named colours and sRGB values.

use serde::{Deserialize, Serialize};

/// Red, green and blue in sRGB, 0 to 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rgb(pub u8, pub u8, pub u8);

impl Rgb {
    /// The Euclidean distance to another colour, 0 to 442.
    pub fn distance(self, other: Self) -> f32 {
        let square = |a: u8, b: u8| (f32::from(a) - f32::from(b)).powi(2);
        (square(self.0, other.0) + square(self.1, other.1) + square(self.2, other.2)).sqrt()
    }
}

/// A colour that captions have a word for. Any two are at least 130 apart in red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Colour {
    Red,
    Orange,
    Yellow,
    Green,
    Cyan,
    Blue,
    Purple,
    Pink,
    Black,
    White,
}

impl Colour {
    /// All colours.
    pub const ALL: [Self; 10] = [
        Self::Red,
        Self::Orange,
        Self::Yellow,
        Self::Green,
        Self::Cyan,
        Self::Blue,
        Self::Purple,
        Self::Pink,
        Self::Black,
        Self::White,
    ];

    /// Its word in captions.
    pub fn word(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Orange => "orange",
            Self::Yellow => "yellow",
            Self::Green => "green",
            Self::Cyan => "cyan",
            Self::Blue => "blue",
            Self::Purple => "purple",
            Self::Pink => "pink",
            Self::Black => "black",
            Self::White => "white",
        }
    }

    /// Its shade.
    pub fn rgb(self) -> Rgb {
        match self {
            Self::Red => Rgb(198, 22, 44),
            Self::Orange => Rgb(255, 138, 14),
            Self::Yellow => Rgb(252, 242, 104),
            Self::Green => Rgb(36, 164, 62),
            Self::Cyan => Rgb(76, 214, 228),
            Self::Blue => Rgb(22, 70, 218),
            Self::Purple => Rgb(152, 40, 172),
            Self::Pink => Rgb(250, 132, 188),
            Self::Black => Rgb(34, 34, 40),
            Self::White => Rgb(252, 252, 252),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_two_colours_are_far_apart() {
        for (number, one) in Colour::ALL.into_iter().enumerate() {
            for other in &Colour::ALL[..number] {
                let distance = one.rgb().distance(other.rgb());
                assert!(distance >= 130.0, "{one:?} {other:?} {distance}");
            }
        }
    }
}
