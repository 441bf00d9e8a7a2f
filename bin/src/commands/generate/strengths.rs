//! Strengths of concepts that prompts give, as in `<dog6:0.8>`.

use std::collections::BTreeSet;

use burn_seqlora::compose::Member;
use burn_seqlora::text::{ForeignTag, foreign_tag, next_placeholder};

use crate::failure::Failure;

/// A concept and the strength that a prompt gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct Strength {
    id: String,
    scale: f64,
    /// As it was written.
    tag: String,
}

/// Takes the strengths out of the prompts, in which `<id>` is left.
///
/// # Errors
/// If a tag names an adapter of another program, or a strength is not finite.
pub fn take<'a>(
    prompts: impl IntoIterator<Item = &'a mut String>,
) -> Result<Vec<Strength>, Failure> {
    let mut strengths: Vec<Strength> = Vec::new();
    for prompt in prompts {
        while let Some(found) = foreign_tag(prompt) {
            let ForeignTag { tag, network, id, scale } = found;
            if network.is_some() {
                return Err(Failure::Usage(format!(
                    "`{tag}` in `{prompt}`: there is no folder of LoRAs to look in; leave it out, and \
                     give the file with --lora FILE={scale}. A concept of the bank is written <{id}>, or \
                     <{id}:{scale}> with a strength"
                )));
            }
            let strength = match scale.parse::<f64>() {
                Ok(scale) if scale.is_finite() => {
                    Strength { id: id.into(), scale, tag: tag.into() }
                }
                Ok(_) => {
                    return Err(Failure::Usage(format!("`{tag}`: the strength is not finite")));
                }
                Err(_) => {
                    return Err(Failure::Usage(format!(
                        "`{tag}` in `{prompt}` names no concept; a concept is written <id>, or <id:0.8> \
                         with a strength, and text has a space behind `<`"
                    )));
                }
            };
            *prompt = prompt.replace(tag, &format!("<{id}>"));
            if !strengths.contains(&strength) {
                strengths.push(strength);
            }
        }
    }
    Ok(strengths)
}

/// Checks that no prompt names a concept plainly to which another prompt gives a strength, unless --concept gives it;
/// `chosen` are its texts.
///
/// # Errors
/// Names both. Those of [`take`].
pub fn check_alike<'a>(
    prompts: impl IntoIterator<Item = &'a str>,
    chosen: &[String],
) -> Result<(), Failure> {
    let (mut given, mut plain) = (Vec::<Strength>::new(), BTreeSet::new());
    for prompt in prompts {
        let mut prompt = prompt.to_string();
        let strengths = take([&mut prompt])?;
        let mut rest = prompt.as_str();
        while let Some((_, id, after)) = next_placeholder(rest) {
            if !strengths.iter().any(|strength| strength.id == id) {
                plain.insert(id.to_string());
            }
            rest = after;
        }
        given.extend(strengths);
    }
    let both = |strength: &&Strength| {
        let Strength { id, scale, .. } = strength;
        *scale != 1.0 && plain.contains(id) && chosen_scale(chosen, id).is_none()
    };
    match given.iter().find(both) {
        Some(Strength { id, tag, .. }) => Err(two(&format!("<{id}>"), tag)),
        None => Ok(()),
    }
}

/// Gives the concepts these strengths; `chosen` are the texts of --concept.
///
/// # Errors
/// If a concept has two different ones.
pub fn apply(
    strengths: &[Strength],
    chosen: &[String],
    members: &mut [Member],
) -> Result<(), Failure> {
    for (number, Strength { id, scale, tag }) in strengths.iter().enumerate() {
        let same = |other: &&Strength| other.id == *id && other.scale != *scale;
        if let Some(other) = strengths[..number].iter().find(same) {
            return Err(two(&other.tag, tag));
        }
        let Some(member) = members.iter_mut().find(|member| member.id == *id) else {
            // A prompt that names what is not there is refused when prompts are checked.
            continue;
        };
        match chosen_scale(chosen, id) {
            Some(text) if member.scale != *scale => {
                return Err(two(&format!("--concept {text}"), tag));
            }
            _ => member.scale = *scale,
        }
    }
    Ok(())
}

/// The text of --concept that gives a concept a strength.
fn chosen_scale<'a>(chosen: &'a [String], id: &str) -> Option<&'a String> {
    chosen.iter().find(|text| {
        let (name, scale) = text.split_once('=').unwrap_or((text, ""));
        !scale.is_empty() && name.trim_matches(['<', '>']) == id
    })
}

fn two(one: &str, other: &str) -> Failure {
    Failure::Usage(format!(
        "`{one}` and `{other}`: a concept has one strength in all images of a command"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(prompts: &[&str]) -> Result<(Vec<String>, Vec<Strength>), String> {
        let mut prompts: Vec<String> = prompts.iter().map(ToString::to_string).collect();
        let strengths = take(&mut prompts).map_err(|error| error.to_string())?;
        Ok((prompts, strengths))
    }

    fn strength(id: &str, scale: f64, tag: &str) -> Strength {
        Strength { id: id.into(), scale, tag: tag.into() }
    }

    #[test]
    fn strengths_are_taken_out() {
        let (prompts, strengths) =
            taken(&["(<dog6:0.5>:1.2) and <mug>, <dog6:0.5>", "1 < 2 <mug: 0.8 >"]).unwrap();
        assert_eq!(prompts, ["(<dog6>:1.2) and <mug>, <dog6>", "1 < 2 <mug>"]);
        let expected = [strength("dog6", 0.5, "<dog6:0.5>"), strength("mug", 0.8, "<mug: 0.8 >")];
        assert_eq!(strengths, expected);
    }

    #[test]
    fn other_programs_tags_are_refused_with_the_remedy() {
        for tag in ["<lora:mug:0.8>", "<lyco:mug:0.8>", "<lora:mug:0.8:lbw=ALL>"] {
            let error = taken(&[tag]).unwrap_err();
            assert!(error.contains("--lora FILE=0.8") && error.contains("<mug:0.8>"), "{error}");
        }
        assert!(taken(&["<mug:inf>"]).unwrap_err().contains("not finite"));
        for tag in ["<mug:much>", "<mug 0.8>", "<mug=0.8>", "<mug:0.8", "<a mug:0.8>"] {
            assert!(taken(&[tag]).unwrap_err().contains("names no concept"), "{tag}");
        }
    }

    #[test]
    fn prompts_agree_about_strengths() {
        let check = |prompts: &[&str]| check_alike(prompts.iter().copied(), &[]);
        for prompts in [["<mug:0.5> on <dog>", "<dog>"], ["<mug:1>", "<mug>"]] {
            assert!(check(&prompts).is_ok(), "{prompts:?}");
        }
        assert!(check(&["<mug:0.5> and another <mug>"]).is_ok(), "within a prompt it is clear");
        assert!(check_alike(["<mug:0.5>", "a <mug>"], &["mug=0.5".into()]).is_ok());
        let error = check(&["<mug:0.5>", "a <mug>"]).unwrap_err().to_string();
        assert!(error.contains("`<mug>` and `<mug:0.5>`"), "{error}");
    }

    #[test]
    fn a_concept_has_one_strength() {
        let apply = |tags: &[&str], chosen: &[&str], scale: f64| {
            let (_, strengths) = taken(tags).unwrap();
            let chosen: Vec<String> = chosen.iter().map(ToString::to_string).collect();
            let mut members = [Member { id: "mug".into(), scale }];
            super::apply(&strengths, &chosen, &mut members).map_err(|error| error.to_string())?;
            Ok(members[0].scale)
        };
        assert_eq!(apply(&["<mug:0.5>"], &[], 1.0), Ok(0.5));
        assert_eq!(apply(&["<mug:0.5>"], &["mug"], 1.0), Ok(0.5));
        assert_eq!(apply(&["<mug:0.5>"], &["<mug>=0.5"], 0.5), Ok(0.5));
        assert_eq!(apply(&["<mug>"], &["mug=0.7"], 0.7), Ok(0.7));
        for (tags, chosen) in
            [(&["<mug:0.5>"][..], &["mug=1"][..]), (&["<mug:0.5>", "<mug:1>"], &[])]
        {
            let error: String = apply(tags, chosen, 1.0).unwrap_err();
            assert!(error.contains("a concept has one strength"), "{error}");
        }
    }
}
