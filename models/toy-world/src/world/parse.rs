//! The parser of captions: the inverse of [`caption`](crate::world::caption).

use crate::world::background::Background;
use crate::world::caption::{AN, CONNECTIVES, DETERMINERS, FILLERS, OPENINGS};
use crate::world::class::Class;
use crate::world::colour::Colour;
use crate::world::description::{Description, ObjectDescription};
use crate::world::marking::Marking;
use crate::world::relation::Relation;

impl Description {
    /// The description that a caption states, or `None` where the text is no caption of this world.
    ///
    /// Every caption that [`Description::caption`] writes is understood.
    pub fn parse(caption: &str) -> Option<Self> {
        let words: Vec<&str> = caption.split_whitespace().collect();
        let openings = OPENINGS.into_iter().filter_map(|phrase| after(&words, phrase));
        let words = openings.min_by_key(|rest| rest.len()).unwrap_or(&words);
        let phrases = Background::ALL.map(|b| b.phrases().iter().map(move |phrase| (b, *phrase)));
        let (words, background) = phrases
            .into_iter()
            .flatten()
            .filter_map(|(background, phrase)| Some((before(words, phrase)?, Some(background))))
            .min_by_key(|(rest, _)| rest.len())
            .unwrap_or((words, None));
        let (objects, relation) = match object(words) {
            Some(object) => (vec![object], None),
            None => pair(words)?,
        };
        Some(Self { objects, relation, background })
    }
}

/// Two objects and their relation, if the phrase between them states one.
fn pair(words: &[&str]) -> Option<(Vec<ObjectDescription>, Option<Relation>)> {
    let stated = Relation::ALL.map(|r| r.phrases().iter().map(move |phrase| (Some(r), *phrase)));
    let connectives =
        stated.into_iter().flatten().chain(CONNECTIVES.map(|connective| (None, connective)));
    connectives.flat_map(|connective| (1..words.len()).map(move |at| (connective, at))).find_map(
        |((relation, phrase), at)| {
            let second = after(&words[at..], phrase)?;
            Some((vec![object(&words[..at])?, object(second)?], relation))
        },
    )
}

/// One object with its determiner.
fn object(words: &[&str]) -> Option<ObjectDescription> {
    let mut words = Words(words);
    let determiner = words.take(|word| word == AN || DETERMINERS.contains(&word));
    determiner.then_some(())?;
    words.take(|word| FILLERS.contains(&word));
    let main = words.colour();
    let class = |word: &&str| Class::ALL.into_iter().find(|class| class.word() == *word);
    let variant_word = words.0.first().filter(|word| class(word).is_none()).copied();
    words.0 = &words.0[usize::from(variant_word.is_some())..];
    let class = class(words.0.first()?)?;
    words.0 = &words.0[1..];
    let variant = match variant_word {
        Some(word) => Some(class.variants().iter().position(|variant| *variant == word)?),
        None => None,
    };
    let mut object = ObjectDescription { main, variant, ..ObjectDescription::any(class) };
    let mut joint = "with";
    while words.take(|word| word == joint) {
        words.extra(&mut object)?;
        joint = "and";
    }
    if words.0 == ["without", "marking"] {
        object.marking = Some(Marking::Plain);
        words.0 = &[];
    }
    words.0.is_empty().then_some(object)
}

/// The words that have not been read yet.
struct Words<'a>(&'a [&'a str]);

impl Words<'_> {
    /// Reads the next word if it satisfies a condition.
    fn take(&mut self, condition: impl Fn(&str) -> bool) -> bool {
        let taken = self.0.first().is_some_and(|word| condition(word));
        self.0 = &self.0[usize::from(taken)..];
        taken
    }

    /// Reads the next word if it is a colour.
    fn colour(&mut self) -> Option<Colour> {
        let colour = Colour::ALL.into_iter().find(|c| self.0.first() == Some(&c.word()));
        self.0 = &self.0[usize::from(colour.is_some())..];
        colour
    }

    /// Reads the colour of a part or of the marking, e.g. `blue roof`; `None` where it is neither, or was
    /// stated before.
    fn extra(&mut self, object: &mut ObjectDescription) -> Option<()> {
        let colour = self.colour()?;
        let noun = *self.0.first()?;
        self.0 = &self.0[1..];
        let (second, third) = object.class.parts();
        let place = if noun == second {
            &mut object.second
        } else if Some(noun) == third {
            &mut object.third
        } else {
            let marking = Marking::ALL.into_iter().find(|m| m.word() == Some(noun))?;
            object.marking = Some(marking);
            &mut object.marked
        };
        place.replace(colour).is_none().then_some(())
    }
}

/// The words after a phrase that comes first.
fn after<'a>(words: &'a [&'a str], phrase: &'static str) -> Option<&'a [&'a str]> {
    let phrase: Vec<&str> = phrase.split(' ').collect();
    words.strip_prefix(phrase.as_slice())
}

/// The words before a phrase that comes last.
fn before<'a>(words: &'a [&'a str], phrase: &'static str) -> Option<&'a [&'a str]> {
    let phrase: Vec<&str> = phrase.split(' ').collect();
    words.strip_suffix(phrase.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::sample::SceneOptions;
    use crate::world::scene::Scene;
    use seqlora_core::rng::Seed;

    #[test]
    fn parsing_is_the_inverse_of_captioning() {
        let seed = Seed::new(5);
        for index in 0..3000 {
            let scene = Scene::random(&seed, index, &SceneOptions::default());
            let mut rng = seed.fork("caption").at(index);
            let stated = scene.partial_description(&mut rng);
            let caption = stated.caption(&mut rng);
            assert_eq!(Description::parse(&caption), Some(stated), "{caption}");
        }
    }

    #[test]
    fn a_parsed_caption_is_structured() {
        let caption = "a red mug with blue handle and white dots under a boxy car at night";
        let Description { objects, relation, background } = Description::parse(caption).unwrap();
        assert_eq!((relation, background), (Some(Relation::Below), Some(Background::Night)));
        let mug = ObjectDescription {
            main: Some(Colour::Red),
            second: Some(Colour::Blue),
            marking: Some(Marking::Dots),
            marked: Some(Colour::White),
            ..ObjectDescription::any(Class::Mug)
        };
        let car = ObjectDescription { variant: Some(1), ..ObjectDescription::any(Class::Car) };
        assert_eq!(objects, [mug, car]);
    }

    #[test]
    fn other_english_is_not_understood() {
        let mugs =
            ["a mug with", "a mug with red", "a mug red", "a boxy mug", "a mug with red wheels"];
        for text in ["", "a", "mug", "a red", "at night", "a mug and"].into_iter().chain(mugs) {
            assert_eq!(Description::parse(text), None, "{text}");
        }
    }
}
