//! What a caption states about a scene. Attributes that it does not state are free.

use serde::{Deserialize, Serialize};

use crate::world::background::Background;
use crate::world::class::Class;
use crate::world::colour::Colour;
use crate::world::individual::Individual;
use crate::world::look::Look;
use crate::world::marking::Marking;
use crate::world::relation::Relation;
use crate::world::truth::{ObjectTruth, Truth};

/// What a caption states about an object. An attribute that is `None` is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectDescription {
    /// Its class.
    pub class: Class,
    /// Its variant.
    pub variant: Option<usize>,
    /// The colour of its main part.
    pub main: Option<Colour>,
    /// The colour of its second part.
    pub second: Option<Colour>,
    /// The colour of its third part.
    pub third: Option<Colour>,
    /// Its marking.
    pub marking: Option<Marking>,
    /// The colour of the marking. Captions state it together with the marking.
    pub marked: Option<Colour>,
    /// The index of the individual that it is. An individual has a look of its own.
    pub individual: Option<usize>,
}

impl ObjectDescription {
    /// Any object of a class.
    pub fn any(class: Class) -> Self {
        let (variant, marking, individual) = (None, None, None);
        let [main, second, third, marked] = [None; 4];
        Self { class, variant, main, second, third, marking, marked, individual }
    }

    /// An object of a class with every attribute of a look.
    pub fn with_look(class: Class, look: &Look) -> Self {
        let has_third = class.parts().1.is_some();
        Self {
            class,
            variant: Some(look.variant),
            main: Some(look.main),
            second: Some(look.second),
            third: has_third.then_some(look.third),
            marking: Some(look.marking),
            marked: (look.marking != Marking::Plain).then_some(look.marked),
            individual: None,
        }
    }

    /// An individual.
    pub fn individual(individual: Individual) -> Self {
        Self { individual: Some(individual.index), ..Self::any(individual.class) }
    }

    /// Whether an object has all attributes that are stated.
    pub fn matches(&self, truth: &ObjectTruth) -> bool {
        fn agrees<T: PartialEq>(stated: Option<T>, actual: T) -> bool {
            stated.is_none_or(|stated| stated == actual)
        }
        let look = &truth.look;
        self.class == truth.class
            && agrees(self.variant, look.variant)
            && agrees(self.main, look.main)
            && agrees(self.second, look.second)
            && agrees(self.third, look.third)
            && agrees(self.marking, look.marking)
            && agrees(self.marked, look.marked)
            && self.individual.is_none_or(|index| truth.individual == Some(index))
    }
}

/// What a caption states about a scene.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// One or two objects. Scenes leave out any further ones.
    pub objects: Vec<ObjectDescription>,
    /// Where the first of two objects is, relative to the second.
    pub relation: Option<Relation>,
    /// The background.
    pub background: Option<Background>,
}

impl Description {
    /// The same description with its objects in the order that makes the relation
    /// [canonical](Relation::is_canonical).
    pub fn canonical(mut self) -> Self {
        if let Some(relation) = self.relation.filter(|relation| !relation.is_canonical()) {
            self.relation = Some(relation.reversed());
            self.objects.reverse();
        }
        self
    }

    /// Whether an image shows what is described. The order in which objects are listed is free.
    pub fn matches(&self, truth: &Truth) -> bool {
        let objects = truth.objects.iter().rev().copied().collect();
        let relation = truth.relation.map(Relation::reversed);
        let reversed = Truth { objects, relation, ..*truth };
        [truth, &reversed].into_iter().any(|truth| self.matches_in_order(truth))
    }

    fn matches_in_order(&self, truth: &Truth) -> bool {
        let mut objects = self.objects.iter().zip(&truth.objects);
        self.background.is_none_or(|background| background == truth.background)
            && self.relation.is_none_or(|relation| Some(relation) == truth.relation)
            && self.objects.len() == truth.objects.len()
            && objects.all(|(stated, object)| stated.matches(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seqlora_core::rng::Seed;

    #[test]
    fn the_order_of_objects_does_not_matter_but_their_relation_does() {
        let mug =
            ObjectDescription { main: Some(Colour::Red), ..ObjectDescription::any(Class::Mug) };
        let objects = [mug, ObjectDescription::any(Class::Cat)];
        let description = |first: usize, relation| {
            let objects = vec![objects[first], objects[1 - first]];
            Description { objects, relation: Some(relation), background: None }
        };
        let left = description(0, Relation::LeftOf);
        let truth = left.scene(&Seed::new(1), 0).truth();
        assert!(description(1, Relation::RightOf).matches(&truth));
        assert_eq!(description(1, Relation::RightOf).canonical(), left);
        assert!(!description(1, Relation::LeftOf).matches(&truth));
        assert!(!description(0, Relation::Above).matches(&truth));
    }
}
