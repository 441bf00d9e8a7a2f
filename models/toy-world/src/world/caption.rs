//! Captions in English for descriptions.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::world::description::{Description, ObjectDescription};
use crate::world::drawing::VARIANTS;
use crate::world::individual::Individual;
use crate::world::marking::Marking;

/// Optional openings of captions. The first object with its article follows.
pub(crate) const OPENINGS: [&str; 14] = [
    "a photo of",
    "a picture of",
    "an image of",
    "a painting of",
    "a drawing of",
    "a rendering of",
    "a rendition of",
    "a good photo of",
    "a bright photo of",
    "a dark photo of",
    "a close-up photo of",
    "a cropped photo of",
    "the photo of",
    "photo of",
];

/// Determiners of objects; `a` becomes [`AN`] before a vowel.
pub(crate) const DETERMINERS: [&str; 4] = ["a", "the", "my", "one"];

/// The form of `a` before a vowel.
pub(crate) const AN: &str = "an";

/// Adjectives without a meaning in this world. The prompt templates of customisation papers use
/// them.
pub(crate) const FILLERS: [&str; 9] =
    ["nice", "cool", "good", "clean", "dirty", "weird", "small", "large", "big"];

/// What joins two objects whose relation is not stated.
pub(crate) const CONNECTIVES: [&str; 4] = ["and", "next to", "beside", "with"];

impl Description {
    /// A caption that states the whole description. Individuals are named by their class.
    pub fn caption(&self, rng: &mut ChaCha8Rng) -> String {
        self.caption_with(rng, &|individual| individual.class.word().to_string())
    }

    /// The same, with `name` giving the name of an individual, e.g. `<new1>` or `<new1> mug`.
    pub fn caption_with(
        &self,
        rng: &mut ChaCha8Rng,
        name: &dyn Fn(&Individual) -> String,
    ) -> String {
        let mut words: Vec<String> = Vec::new();
        if rng.random_bool(0.6) {
            words.push(choose(&OPENINGS, rng).to_string());
        }
        for (number, object) in self.objects.iter().enumerate() {
            if number > 0 {
                let connectives =
                    self.relation.map_or(&CONNECTIVES[..], |relation| relation.phrases());
                words.push(choose(connectives, rng).to_string());
            }
            words.push(object.phrase(rng, name));
        }
        words.extend(
            self.background.map(|background| choose(background.phrases(), rng).to_string()),
        );
        words.join(" ")
    }
}

impl ObjectDescription {
    /// The object with its article, e.g. `a red boxy car with blue roof and black wheels and white band`.
    fn phrase(&self, rng: &mut ChaCha8Rng, name: &dyn Fn(&Individual) -> String) -> String {
        let mut words: Vec<String> = Vec::new();
        let mut add = |word: &str| words.push(word.to_string());
        if rng.random_bool(0.06) {
            add(choose(&FILLERS, rng));
        }
        match self.individual {
            Some(index) => add(&name(&Individual::of(index))),
            None => self.add_look(&mut add),
        }
        let determiner = if rng.random_bool(0.85) { "a" } else { choose(&DETERMINERS, rng) };
        let vowel = words[0].starts_with(['a', 'e', 'i', 'o', 'u']);
        let article = if determiner == "a" && vowel { AN } else { determiner };
        format!("{article} {}", words.join(" "))
    }

    fn add_look(&self, add: &mut dyn FnMut(&str)) {
        if let Some(main) = self.main {
            add(main.word());
        }
        if let Some(variant) = self.variant {
            add(self.class.variants()[variant % VARIANTS]);
        }
        add(self.class.word());
        let (second, third) = self.class.parts();
        let extras = [
            (self.second, Some(second)),
            (self.third, third),
            (self.marked, self.marking.and_then(Marking::word)),
        ];
        let stated = extras.into_iter().filter_map(|(colour, noun)| Some((colour?, noun?)));
        for (number, (colour, noun)) in stated.enumerate() {
            add(if number == 0 { "with" } else { "and" });
            add(colour.word());
            add(noun);
        }
        if self.marking == Some(Marking::Plain) {
            add("without");
            add("marking");
        }
    }
}

impl Individual {
    /// What it looks like, in the words of captions and without an article, e.g. `red boxy car with blue roof
    /// and black wheels and white band`.
    pub fn in_words(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        let mut add = |word: &str| words.push(word.to_string());
        ObjectDescription::with_look(self.class, &self.look).add_look(&mut add);
        words.join(" ")
    }
}

/// A random phrase: the first one with probability 1/2, else any of them with equal probability.
fn choose(phrases: &[&'static str], rng: &mut ChaCha8Rng) -> &'static str {
    let index = if rng.random_bool(0.5) { 0 } else { rng.random_range(0..phrases.len().max(1)) };
    phrases.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::class::Class;
    use crate::world::colour::Colour;
    use seqlora_core::rng::Seed;
    use std::collections::HashSet;

    fn captions(object: ObjectDescription, name: &str) -> HashSet<String> {
        let description = Description { objects: vec![object], ..Description::default() };
        let mut rng = Seed::new(0).at(0);
        (0..500).map(|_| description.caption_with(&mut rng, &|_| name.to_string())).collect()
    }

    #[test]
    fn captions_name_every_part() {
        let object = ObjectDescription {
            variant: Some(1),
            main: Some(Colour::Orange),
            second: Some(Colour::Blue),
            third: Some(Colour::Black),
            marking: Some(Marking::Dots),
            marked: Some(Colour::White),
            ..ObjectDescription::any(Class::Car)
        };
        let expected = "an orange boxy car with blue roof and black wheels and white dots";
        let captions = captions(object, "");
        assert!(captions.contains(expected), "{captions:?}");
        assert!(captions.contains(&format!("a photo of {expected}")), "{captions:?}");
    }

    #[test]
    fn an_individual_in_words_is_described_completely() {
        for individual in (0..Individual::COUNT).map(Individual::of) {
            let stated = ObjectDescription::with_look(individual.class, &individual.look);
            let parsed = Description::parse(&format!("a {}", individual.in_words())).unwrap();
            assert_eq!(parsed.objects, [stated], "{}", individual.in_words());
        }
    }

    #[test]
    fn an_individual_has_the_name_that_the_caller_gives() {
        let captions = captions(ObjectDescription::individual(Individual::of(10)), "<new1>");
        assert!(captions.contains("a photo of a <new1>"), "{captions:?}");
        assert!(captions.iter().all(|caption| caption.contains("<new1>")));
    }
}
