//! The parser of captions: the inverse of [`caption`](crate::world::caption).

use crate::world::background::Background;
use crate::world::caption::{AN, CONNECTIVES, DETERMINERS, FILLERS, OPENINGS};
use crate::world::class::Class;
use crate::world::colour::Colour;
use crate::world::description::{Description, ObjectDescription};
use crate::world::pattern::Pattern;
use crate::world::pose::Size;
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
    let size = words.one_of(Size::ALL, |size| size.words());
    let colour = words.one_of(Colour::ALL, |colour| colour.words());
    let adjective = words.one_of(Pattern::ALL, |pattern| pattern.adjectives());
    let class = Class::ALL.into_iter().find(|class| words.0.first() == Some(&class.word()))?;
    words.0 = &words.0[1..];
    let (mut second, mut noun) = (None, None);
    if words.take(|word| word == "with") {
        second = words.one_of(Colour::ALL, |colour| colour.words());
        noun = Some(words.one_of(Pattern::ALL, |pattern| pattern.nouns())?);
    }
    let understood = words.0.is_empty() && !(adjective.is_some() && noun.is_some());
    let pattern = adjective.or(noun);
    understood.then_some(ObjectDescription {
        size,
        colour,
        pattern,
        second,
        ..ObjectDescription::any(class)
    })
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

    /// Reads the next word if it names one of the values.
    fn one_of<T: Copy, const N: usize>(
        &mut self,
        values: [T; N],
        words: impl Fn(T) -> &'static [&'static str],
    ) -> Option<T> {
        let value =
            values.into_iter().find(|v| self.0.first().is_some_and(|w| words(*v).contains(w)));
        self.0 = &self.0[usize::from(value.is_some())..];
        value
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
        let parsed = Description::parse("a small red mug with white dots under a car at night");
        let Description { objects, relation, background } = parsed.unwrap();
        assert_eq!((relation, background), (Some(Relation::Below), Some(Background::Night)));
        let mug = ObjectDescription {
            size: Some(Size::Small),
            colour: Some(Colour::Red),
            pattern: Some(Pattern::Dotted),
            second: Some(Colour::White),
            ..ObjectDescription::any(Class::Mug)
        };
        assert_eq!(objects, [mug, ObjectDescription::any(Class::Car)]);
    }

    #[test]
    fn other_english_is_not_understood() {
        let mugs = ["a mug with", "a mug with red", "a mug red", "a striped mug with dots"];
        for text in ["", "a", "mug", "a red", "at night", "a mug and"].into_iter().chain(mugs) {
            assert_eq!(Description::parse(text), None, "{text}");
        }
    }
}
