//! The look of an object: everything but its class and its pose.

use serde::{Deserialize, Serialize};

use crate::world::colour::{Colour, Rgb};
use crate::world::drawing::Role;
use crate::world::marking::Marking;

/// Everything that is needed to paint an object of a given class; captions have words for all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Look {
    /// Which of the three variants of its class is drawn.
    pub variant: usize,
    /// The colour of its main part.
    pub main: Colour,
    /// The colour of its second part.
    pub second: Colour,
    /// The colour of its third part; without meaning where the class has none.
    pub third: Colour,
    /// Its marking.
    pub marking: Marking,
    /// The colour of the marking; without meaning where it is plain.
    pub marked: Colour,
}

impl Look {
    /// The colour of a part.
    pub(crate) fn colour(&self, role: Role) -> Rgb {
        match role {
            Role::Main => self.main.rgb(),
            Role::Second => self.second.rgb(),
            Role::Third => self.third.rgb(),
            Role::Dark => Rgb(40, 38, 46),
            Role::Light => Rgb(246, 246, 240),
        }
    }
}
