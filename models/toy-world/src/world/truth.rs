//! What an image shows.

use serde::{Deserialize, Serialize};

use crate::world::background::Background;
use crate::world::class::Class;
use crate::world::look::Look;
use crate::world::object::Object;
use crate::world::pose::Bounds;
use crate::world::relation::Relation;

/// What an image shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// The background.
    pub background: Background,
    /// One or two objects.
    pub objects: Vec<ObjectTruth>,
    /// Where the first of two objects is, relative to the second.
    pub relation: Option<Relation>,
}

/// What an image shows of one object.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ObjectTruth {
    /// Its class.
    pub class: Class,
    /// Its look.
    pub look: Look,
    /// The index of the individual, if it is one.
    pub individual: Option<usize>,
    /// Its bounding box.
    pub bounds: Bounds,
}

impl ObjectTruth {
    /// The ground truth of an object.
    pub fn of(object: &Object) -> Self {
        let Object { class, look, individual, .. } = *object;
        Self { class, look, individual, bounds: object.bounds() }
    }
}
