//! From the text of an image to options of `generate`.

use std::path::Path;

use burn_seqlora::data::Parameters;

use super::given::Given;
use super::samplers;
use crate::commands::builtin;

/// What an image's text becomes.
#[derive(Debug, Default)]
pub struct Options {
    /// The options.
    pub options: Vec<Given>,
    /// The settings that become none.
    pub unused: Vec<String>,
    /// What else should be known.
    pub notes: Vec<String>,
}

/// Settings with the option that takes their value as it is. Those in the second list have a meaning for
/// this program's images only.
const COMMON: [(&str, &[&str]); 5] = [
    ("Steps", &["steps"]),
    ("CFG scale", &["guidance"]),
    ("Seed", &["seed", "seeds"]),
    ("Size", &["size"]),
    ("Clip skip", &["clip_skip"]),
];
const OURS: [(&str, &[&str]); 15] = [
    ("Sampler", &["sampler"]),
    ("Spacing", &["spacing"]),
    ("Number", &["image", "num"]),
    ("Precision", &["precision"]),
    ("Bank", &["bank"]),
    ("Fused", &["fused"]),
    ("Region base", &["region_base"]),
    ("Init image", &["init"]),
    ("Denoising strength", &["strength"]),
    ("Latents", &["latents"]),
    ("Tokenizer", &["tokenizer"]),
    ("Prediction", &["prediction"]),
    ("Variant", &["variant"]),
    ("VAE path", &["vae"]),
    ("Revision", &["revision"]),
];

/// Settings of this program that are taken over in ways of their own, or change nothing.
const OURS_TOO: [&str; 12] = [
    "Schedule type",
    "Model",
    "Model path",
    "Model hash",
    "Prompt syntax",
    "Concepts",
    "LoRA",
    "Region",
    "Input",
    "Concept",
    "Concept step",
    "Version",
];

/// Settings of A1111's web interface that are taken over in ways of their own, or change nothing.
const A1111_TOO: [&str; 6] =
    ["Sampler", "Schedule type", "Model", "Model hash", "Version", "Emphasis"];

/// Whether this program wrote the text.
pub fn is_ours(parameters: &Parameters) -> bool {
    matches!(parameters.get("Version"), Ok(Some(version)) if version.starts_with("seqlora "))
}

/// The options that a text gives.
///
/// # Errors
/// If a setting cannot be understood, or has several values.
pub fn options(parameters: &Parameters) -> Result<Options, String> {
    let ours = is_ours(parameters);
    let mut given = vec![
        Given::new(&["prompt", "prompts"], &parameters.prompt),
        Given::new(&["negative"], &parameters.negative),
    ];
    let own: &[(&str, &'static [&'static str])] = if ours { &OURS } else { &[] };
    for &(name, ids) in COMMON.iter().chain(own) {
        given.extend(parameters.get(name)?.map(|value| Given::new(ids, value)));
    }
    let mut notes = Vec::new();
    if ours {
        given.extend(of_this_program(parameters)?);
        if let (Some(concept), Some(step)) =
            (parameters.get("Concept")?, parameters.get("Concept step")?)
        {
            notes.push(format!(
                "the image is a preview of `{concept}` at step {step}; a bank holds the concept as it was at the \
                 end, and as it was at steps in folders of `learn --keep`, which --bank may name"
            ));
        }
    } else {
        given.extend(samplers::of_a1111(parameters)?);
        notes.push(
            "the image is another program's, which draws other noise from the same seed: this one will \
             differ from it"
                .to_string(),
        );
    }
    given.push(model(parameters, ours)?);
    let others: &[&str] = if ours { &OURS_TOO } else { &A1111_TOO };
    let known = |name: &str| {
        others.contains(&name) || COMMON.iter().chain(own).any(|(known, _)| *known == name)
    };
    let unused = parameters.fields.iter().map(|(name, _)| name.clone());
    let unused = unused.filter(|name| !known(name)).collect();
    Ok(Options { options: given, unused, notes })
}

/// The settings of this program whose values are no options' as they are.
fn of_this_program(parameters: &Parameters) -> Result<Vec<Given>, String> {
    let mut given = Vec::new();
    match parameters.get("Schedule type")? {
        None => {}
        // Another sampler may have none.
        Some("Karras") => given.push(Given::switch(&["karras", "sampler"])),
        Some(other) => return Err(format!("the schedule type `{other}` is unknown")),
    }
    match parameters.get("Prompt syntax")? {
        Some("weighted") => {}
        // Before there was another syntax, prompts were literal.
        Some("plain") | None => given.push(Given::switch(&["plain_prompts", "prompt", "prompts"])),
        Some(other) => return Err(format!("the prompt syntax `{other}` is unknown")),
    }
    let concepts = parameters.get("Concepts")?.unwrap_or_default();
    let concepts = concepts.split(", ").filter(|concept| !concept.is_empty());
    given.extend(concepts.map(|concept| Given::new(&["concept"], concept)));
    given.extend(parameters.all("LoRA").map(|lora| Given::new(&["lora"], lora)));
    given.extend(parameters.all("Region").map(|region| Given::new(&["region"], region)));
    Ok(given)
}

/// The model: the built-in one, or one that is on this machine. None is downloaded because an image
/// names it.
fn model(parameters: &Parameters, ours: bool) -> Result<Given, String> {
    const MODEL: &[&str] = &["model"];
    let name = parameters.get("Model")?;
    let path = if ours { parameters.get("Model path")?.or(name) } else { name };
    let Some(path) = path else {
        let reason = "it does not tell its model; give it with --model";
        return Ok(Given::missing(MODEL, reason.into()));
    };
    let here = builtin::is_meant(Path::new(path)) || Path::new(path).exists();
    Ok(match ours && here {
        true => Given::new(MODEL, path),
        false => Given::missing(
            MODEL,
            format!(
                "it was made with the model `{path}`, which is not found here; give it with --model"
            ),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Vec<String> {
        let options = options(&Parameters::parse(text).unwrap()).unwrap().options;
        options.iter().map(|option| option.text().unwrap_or_else(|reason| reason)).collect()
    }

    #[test]
    fn options_of_this_program() {
        let text = "a (<mug>:1.2)\nNegative prompt: -ugly\nSteps: 4, Sampler: euler, Schedule type: Karras, \
                    Spacing: trailing, Clip skip: 2, CFG scale: 7.5, Seed: 3, Number: 1, Size: 32x48, \
                    Model: builtin, Model hash: ab, Precision: f32, Prompt syntax: weighted, Bank: b, \
                    Concepts: \"mug=0.5, dog=1\", LoRA: a.safetensors=0.8, \
                    Region: \"0,0,8,8:x\", Version: seqlora 0.1.0";
        let expected = [
            "--prompt=a (<mug>:1.2)",
            "--negative=-ugly",
            "--steps=4",
            "--guidance=7.5",
            "--seed=3",
            "--size=32x48",
            "--clip-skip=2",
            "--sampler=euler",
            "--spacing=trailing",
            "--image=1",
            "--precision=f32",
            "--bank=b",
            "--karras",
            "--concept=mug=0.5",
            "--concept=dog=1",
            "--lora=a.safetensors=0.8",
            "--region=0,0,8,8:x",
            "--model=builtin",
        ];
        assert_eq!(typed(text), expected);
    }

    /// Images from before weights have literal prompts.
    #[test]
    fn old_images_have_plain_prompts() {
        let text = "a (mug)\nNegative prompt: \nSteps: 4, Model: builtin, Version: seqlora 0.1.0";
        assert!(typed(text).contains(&"--plain-prompts".to_string()));
    }

    #[test]
    fn options_of_a1111() {
        let text = "a mug\nSteps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 1, \
                    Size: 512x512, Model hash: 6ce0161689, Model: v1-5, Hires upscale: 2, Version: v1.10.1";
        let parameters = Parameters::parse(text).unwrap();
        let Options { unused, notes, .. } = options(&parameters).unwrap();
        assert_eq!((unused, notes.len()), (vec!["Hires upscale".to_string()], 1));
        let typed = typed(text);
        let expected = ["--sampler=dpm++2m", "--karras", "--steps=20", "--guidance=7", "--seed=1"];
        for option in expected {
            assert!(typed.iter().any(|typed| typed == option), "{option} is not in {typed:?}");
        }
        assert!(typed.last().unwrap().contains("give it with --model"), "{typed:?}");
    }

    /// No model is loaded from a hub because an image names it.
    #[test]
    fn models_that_are_not_here_have_to_be_typed() {
        let text = "a\nSteps: 4, Model: b, Model path: owner/name, Version: seqlora 0.1.0";
        assert!(typed(text).last().unwrap().contains("`owner/name`, which is not found here"));
    }

    #[test]
    fn what_is_unclear_is_refused() {
        for (fields, reason) in [
            ("Steps: 4, Steps: 5", "several values for `Steps`"),
            ("Steps: 4, Schedule type: odd, Version: seqlora 1", "the schedule type `odd`"),
            ("Steps: 4, Prompt syntax: odd, Version: seqlora 1", "the prompt syntax `odd`"),
        ] {
            let parameters = Parameters::parse(&format!("a\n{fields}")).unwrap();
            let error = options(&parameters).unwrap_err();
            assert!(error.contains(reason), "{fields}: {error}");
        }
    }
}
