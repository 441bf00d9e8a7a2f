//! The training prompt of an image.
//!
//! Every prompt holds `{}` exactly once, where the trainer inserts the concept's pseudo-words. The
//! second pseudo-word is initialised with the class word, so `{}` stands for "sks dog", not for "sks".

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use seqlora_core::data::CaptionOptions;

use super::source::ConceptSource;
use super::templates::PLACEHOLDER;

/// The prompt of image `image_index` for one training step: the user's caption if there is one,
/// otherwise a random template of the concept, otherwise a random built-in template.
///
/// In a caption, the first `{}`, `<id>`, `<TOK>` or class word becomes `{}`, together with a class
/// word that directly follows it. A caption with none of them becomes `{}, caption`. The result
/// holds `{}` exactly once.
///
/// # Panics
/// If the concept has no image `image_index`.
pub(crate) fn caption(
    source: &ConceptSource,
    image_index: usize,
    options: &CaptionOptions,
    rng: &mut impl Rng,
) -> String {
    if let Some(caption) = &source.images[image_index].caption {
        let caption = with_placeholder(caption, source);
        return if options.shuffle { shuffled(&caption, rng) } else { caption };
    }
    if let Some(template) = source.templates.choose(rng) {
        return with_placeholder(template, source);
    }
    let builtin = source.kind.templates().choose(rng);
    builtin.expect("every kind has templates").to_string()
}

/// Every prompt that [`caption`] may return, each in the variant with the most text before `{}`.
pub(crate) fn prompts(source: &ConceptSource, options: &CaptionOptions) -> Vec<String> {
    let captions = source.images.iter().filter_map(|image| image.caption.as_ref());
    let captions = captions.map(|caption| {
        let caption = with_placeholder(caption, source);
        if options.shuffle { latest(&caption) } else { caption }
    });
    let uses_templates = source.images.iter().any(|image| image.caption.is_none());
    let templates: Vec<String> = match (uses_templates, &source.templates[..]) {
        (false, _) => Vec::new(),
        (true, []) => source.kind.templates().iter().map(|text| text.to_string()).collect(),
        (true, own) => own.iter().map(|template| with_placeholder(template, source)).collect(),
    };
    captions.chain(templates).collect()
}

/// The order of a caption's parts in which `{}` comes last; the first part stays first.
fn latest(caption: &str) -> String {
    let (first, rest) = caption.split_once(',').unwrap_or((caption, ""));
    let mut parts: Vec<&str> = rest.split(',').map(str::trim).filter(|p| !p.is_empty()).collect();
    parts.sort_by_key(|part| part.contains(PLACEHOLDER));
    parts.insert(0, first);
    parts.join(", ")
}

/// Puts `{}` where the caption names the concept.
fn with_placeholder(caption: &str, source: &ConceptSource) -> String {
    let class = source.class_word.as_str();
    let id = format!("<{}>", source.id);
    let markers = [PLACEHOLDER, id.as_str(), "<TOK>"];
    let marker = markers.iter().find_map(|marker| Some((caption.find(marker)?, marker.len())));
    let Some((start, length)) = marker.or_else(|| Some((find_word(caption, class)?, class.len())))
    else {
        return format!("{PLACEHOLDER}, {caption}");
    };
    let mut rest = &caption[start + length..];
    if marker.is_some() && find_word(rest.trim_start(), class) == Some(0) {
        rest = &rest.trim_start()[class.len()..];
    }
    // The concept's words may occur only once: every further mention becomes the class word.
    let plain = |text: &str| markers.iter().fold(text.to_string(), |t, m| t.replace(m, class));
    format!("{}{PLACEHOLDER}{}", plain(&caption[..start]), plain(rest))
}

/// The byte offset of the first whole-word occurrence of `word`, ignoring ASCII case.
fn find_word(text: &str, word: &str) -> Option<usize> {
    let letter = |c: char| c.is_alphanumeric();
    text.char_indices().map(|(start, _)| start).find(|&start| {
        let end = start + word.len();
        text.get(start..end).is_some_and(|found| found.eq_ignore_ascii_case(word))
            && !text[..start].ends_with(letter)
            && !text[end..].starts_with(letter)
    })
}

/// The caption with its comma-separated parts in a random order; the first part stays first.
fn shuffled(caption: &str, rng: &mut impl Rng) -> String {
    let mut parts: Vec<&str> =
        caption.split(',').map(str::trim).filter(|p| !p.is_empty()).collect();
    parts[1..].shuffle(rng);
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::ConceptKind;
    use crate::source::ImageSource;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn concept(class_word: &str, caption: Option<&str>) -> ConceptSource {
        let caption = caption.map(str::to_string);
        ConceptSource {
            id: "rex".into(),
            class_word: class_word.into(),
            kind: ConceptKind::of_class(class_word),
            images: vec![ImageSource { path: "0.png".into(), caption, mask: None }],
            class_images: None,
            templates: Vec::new(),
            steps: None,
            repeats: 1,
            prompts: None,
        }
    }

    fn draw(source: &ConceptSource, shuffle: bool, seed: u64) -> String {
        caption(source, 0, &CaptionOptions { shuffle }, &mut ChaCha8Rng::seed_from_u64(seed))
    }

    #[test]
    fn user_captions_get_exactly_one_placeholder() {
        let cases = [
            ("a <TOK> on a rug", "a {} on a rug"),
            ("a <rex> dog on a rug", "a {} on a rug"),
            ("a {} and a {}", "a {} and a dog"),
            ("<TOK> beside <rex>", "dog beside {}"),
            ("a Dog in a doghouse, dog bed", "a {} in a doghouse, dog bed"),
            ("a hotdog and a dog", "a hotdog and a {}"),
            ("two dogs", "{}, two dogs"),
            ("écharpe rouge", "{}, écharpe rouge"),
        ];
        for (caption, expected) in cases {
            assert_eq!(draw(&concept("dog", Some(caption)), false, 0), expected, "{caption}");
        }
        assert_eq!(draw(&concept("teddy bear", Some("a <TOK> teddy bear")), false, 0), "a {}");
    }

    #[test]
    fn shuffling_keeps_the_first_part_and_loses_none() {
        let source = concept("dog", Some("a dog, red, green, blue, on grass"));
        let drawn: Vec<_> = (0..8).map(|seed| draw(&source, true, seed)).collect();
        for caption in &drawn {
            let mut parts: Vec<_> = caption.split(", ").collect();
            assert_eq!(parts[0], "a {}");
            parts.sort_unstable();
            assert_eq!(parts, ["a {}", "blue", "green", "on grass", "red"]);
        }
        assert!(drawn.iter().any(|caption| caption != &drawn[0]));
    }

    #[test]
    fn templates_follow_the_kind_and_hold_one_placeholder() {
        for kind in [ConceptKind::Object, ConceptKind::Human, ConceptKind::Style] {
            let templates = kind.templates();
            assert!(templates.iter().all(|t| t.matches(PLACEHOLDER).count() == 1));
            let unique: std::collections::HashSet<_> = templates.iter().collect();
            assert_eq!(unique.len(), templates.len());
        }
        assert!(
            ConceptKind::Human
                .templates()
                .contains(&draw(&concept("man", None), false, 1).as_str())
        );
        let mut own = concept("dog", None);
        own.templates = vec!["my {} again".into()];
        assert_eq!(draw(&own, false, 0), "my {} again");
    }
}
