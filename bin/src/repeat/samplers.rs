//! The samplers and schedules of A1111's web interface.

use burn_seqlora::data::Parameters;
use burn_seqlora::diffusion::SamplerKind;

use super::given::Given;

/// Names of samplers. Those of versions before 1.9 end in the name of the schedule.
const SAMPLERS: [(&str, SamplerKind); 4] = [
    ("DPM++ 2M", SamplerKind::DpmPlusPlus2M),
    ("Euler", SamplerKind::Euler),
    ("Euler a", SamplerKind::EulerAncestral),
    ("DDIM", SamplerKind::Ddim),
];

/// The options that "Sampler" and "Schedule type" give; what is not known has to be typed.
///
/// # Errors
/// If one of them has several values.
pub fn of_a1111(parameters: &Parameters) -> Result<Vec<Given>, String> {
    let Some(name) = parameters.get("Sampler")? else { return Ok(Vec::new()) };
    let schedule = parameters.get("Schedule type")?;
    let (name, schedule) = match name.strip_suffix(" Karras") {
        Some(name) => (name, schedule.or(Some("Karras"))),
        None => (name, schedule),
    };
    let known = SAMPLERS.iter().find(|(known, _)| *known == name);
    let Some((_, kind)) = known else {
        let reason = format!("the sampler `{name}` is not supported; give another with --sampler");
        return Ok(vec![Given::missing(&["sampler"], reason)]);
    };
    let karras = match schedule {
        Some("Karras") => true,
        // A1111's own choice for a sampler.
        Some("Automatic") => *kind == SamplerKind::DpmPlusPlus2M,
        None | Some("Uniform" | "Normal") => false,
        Some(other) => {
            let reason = format!(
                "the schedule type `{other}` is not supported; give a sampler with --sampler"
            );
            return Ok(vec![Given::missing(&["sampler"], reason)]);
        }
    };
    let sampler = Given::new(&["sampler"], kind.name());
    Ok([sampler].into_iter().chain(karras.then(|| Given::switch(&["karras", "sampler"]))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samplers_of_every_version() {
        let typed = |fields: &str| {
            let parameters = Parameters::parse(&format!("a\nSteps: 4, {fields}")).unwrap();
            let given = of_a1111(&parameters).unwrap();
            given.iter().map(|given| given.text().unwrap()).collect::<Vec<_>>().join(" ")
        };
        for (fields, expected) in [
            ("Sampler: DPM++ 2M Karras", "--sampler=dpm++2m --karras"),
            ("Sampler: DPM++ 2M, Schedule type: Karras", "--sampler=dpm++2m --karras"),
            ("Sampler: DPM++ 2M, Schedule type: Automatic", "--sampler=dpm++2m --karras"),
            ("Sampler: Euler a, Schedule type: Automatic", "--sampler=euler-a"),
            ("Sampler: Euler", "--sampler=euler"),
            ("Sampler: DDIM", "--sampler=ddim"),
            ("Seed: 1", ""),
        ] {
            assert_eq!(typed(fields), expected, "{fields}");
        }
        for (fields, name) in [
            ("Sampler: UniPC", "`UniPC`"),
            ("Sampler: Euler, Schedule type: SGM Uniform", "`SGM Uniform`"),
        ] {
            let unknown = Parameters::parse(&format!("a\nSteps: 4, {fields}")).unwrap();
            let reason = of_a1111(&unknown).unwrap()[0].text().unwrap_err();
            assert!(reason.contains(name) && reason.contains("--sampler"), "{reason}");
        }
    }
}
