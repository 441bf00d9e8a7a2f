//! Noise schedules and every sampler's full trajectory against diffusers, on the host.

use burn_seqlora::diffusion::{
    LevelLayout, NoiseSchedule, SamplerKind, SamplerPlan, SchedulerConfig,
};
use seqlora_tests::fixtures;
use seqlora_tests::fixtures::{Fixture, largest};
use serde_json::{Value, from_value};

/// diffusers computes in f32, we in f64.
const TOLERANCE: f64 = 1e-4;

fn description() -> Value {
    serde_json::from_slice(&std::fs::read(fixtures::path("schedulers.json")).unwrap()).unwrap()
}

fn config(value: &Value) -> SchedulerConfig {
    SchedulerConfig::from_json(&value.to_string()).unwrap()
}

/// Largest difference, relative to the largest expected number.
fn error(actual: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    largest(actual.iter().zip(expected).map(|(a, e)| a - e)) / largest(expected.iter().copied())
}

/// What the fixture's script uses for a model: `0.3 sin x + 0.1 x t / 1000`.
fn model(x: f64, timestep: f64) -> f64 {
    0.3 * x.sin() + 0.1 * x * timestep / 1000.0
}

/// All states that a sampler passes through; `fresh` is the noise of each step, one after another.
fn trajectory(plan: &SamplerPlan, init: &[f64], fresh: &[f64]) -> Vec<f64> {
    let first = init.iter().map(|x| x * plan.init_noise_sigma).collect();
    trajectory_from(plan, first, fresh)
}

/// The same from the first state.
fn trajectory_from(plan: &SamplerPlan, mut x: Vec<f64>, fresh: &[f64]) -> Vec<f64> {
    let mut previous = vec![0.0; x.len()];
    let mut states = Vec::new();
    // The fixture has noise for no more than the longest run of a sampler that draws.
    let zeros = vec![0.0; x.len()];
    let mut fresh = fresh.chunks(x.len()).chain(std::iter::repeat(&zeros[..]));
    for step in &plan.steps {
        let fresh = fresh.next().expect("the last one repeats");
        for ((x, previous), fresh) in x.iter_mut().zip(&mut previous).zip(fresh) {
            let output = model(*x * step.scale_input, step.timestep);
            let x0 = step.x0_from_sample * *x + step.x0_from_output * output;
            *x = step.next_from_sample * *x
                + step.next_from_x0 * x0
                + step.next_from_previous_x0 * *previous
                + step.next_from_noise * fresh;
            *previous = x0;
        }
        states.extend_from_slice(&x);
    }
    states
}

/// Every sampler: every spacing, prediction and number of steps, all steps.
#[test]
fn trajectories_match_diffusers() {
    let fixture = Fixture::open("schedulers.safetensors");
    let (init, fresh) = (fixture.values("init"), fixture.values("fresh"));
    let description = description();
    let cases = description["trajectories"].as_array().unwrap();
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let kind = match case["class"].as_str().unwrap() {
            "DDIMScheduler" => SamplerKind::Ddim,
            "DPMSolverMultistepScheduler" => SamplerKind::DpmPlusPlus2M,
            "EulerDiscreteScheduler" => SamplerKind::Euler,
            "EulerAncestralDiscreteScheduler" => SamplerKind::EulerAncestral,
            other => panic!("{other}"),
        };
        let steps = case["steps"].as_u64().unwrap() as usize;
        let plan = SamplerPlan::new(kind, &config(&case["config"]), steps).unwrap();
        let times: Vec<f64> = plan.steps.iter().map(|step| step.timestep).collect();
        assert!(error(&times, &fixture.values(&format!("{name}.timesteps"))) < 1e-6, "{name}");
        let error =
            error(&trajectory(&plan, &init, &fresh), &fixture.values(&format!("{name}.samples")));
        assert!(error < TOLERANCE, "{name}: {error:.1e}");
    }
    assert!(cases.len() > 95, "the fixture covers every combination");
}

/// ᾱ of every β schedule; noisy latents and velocities at four times.
#[test]
fn noise_schedules_match_diffusers() {
    let fixture = Fixture::open("schedulers.safetensors");
    let description = description();
    for (name, case) in description["alphas_cumprod"].as_object().unwrap() {
        let schedule = NoiseSchedule::new(&config(case)).unwrap();
        let expected = fixture.values(&format!("alphas_cumprod.{name}"));
        assert!(error(&schedule.alphas_cumprod, &expected) < 1e-6, "{name}");
    }
    let schedule = NoiseSchedule::new(&config(&description["ddpm"])).unwrap();
    let (clean, noise) = (fixture.values("ddpm.clean"), fixture.values("ddpm.noise"));
    let size = clean.len() / 4;
    let mix = |coefficients: fn(&NoiseSchedule, usize) -> (f64, f64)| -> Vec<f64> {
        let times = fixture.integers("ddpm.timesteps");
        let pairs: Vec<_> = times.iter().map(|t| coefficients(&schedule, *t as usize)).collect();
        (0..clean.len())
            .map(|i| pairs[i / size].0 * clean[i] + pairs[i / size].1 * noise[i])
            .collect()
    };
    assert!(error(&mix(NoiseSchedule::add_noise), &fixture.values("ddpm.noisy")) < TOLERANCE);
    assert!(error(&mix(NoiseSchedule::velocity), &fixture.values("ddpm.velocity")) < TOLERANCE);
}

/// The numbers of a list.
fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// Karras levels, spacings and strengths, with every sampler that has them: timesteps, noise levels
/// and where the steps lead.
#[test]
fn options_match_diffusers() {
    let text = std::fs::read(fixtures::path("sampling.json")).unwrap();
    let fixture: Value = serde_json::from_slice(&text).unwrap();
    let scheduler = config(&fixture["scheduler"]);
    let (init, clean) = (numbers(&fixture["init"]), numbers(&fixture["clean"]));
    let fresh: Vec<f64> = fixture["fresh"].as_array().unwrap().iter().flat_map(numbers).collect();
    let cases = fixture["cases"].as_array().unwrap();
    let mut without_steps = 0;
    for case in cases {
        let kind: SamplerKind = from_value(case["sampler"].clone()).unwrap();
        let steps = case["steps"].as_u64().unwrap() as usize;
        let spacing = from_value(case["spacing"].clone()).unwrap();
        let layout = LevelLayout { spacing, karras: case["karras"].as_bool().unwrap_or(false) };
        let name = format!("{kind} in {steps}, {layout:?}, strength {}", case["strength"]);
        let plan = SamplerPlan::with_layout(kind, &scheduler, steps, layout).unwrap();
        let sigma = case["init_noise_sigma"].as_f64();
        let from_noise = sigma.map_or(0.0, |sigma| plan.init_noise_sigma / sigma - 1.0);
        assert!(from_noise.abs() < 1e-5, "{name}");
        let plan = match case["strength"].as_f64() {
            None => plan,
            Some(strength) => match plan.from_image(strength) {
                Ok(plan) => plan,
                Err(_) => {
                    assert_eq!(case["timesteps"].as_array().unwrap().len(), 0, "{name}");
                    without_steps += 1;
                    continue;
                }
            },
        };
        let times: Vec<f64> = plan.steps.iter().map(|step| step.timestep).collect();
        assert!(error(&times, &numbers(&case["timesteps"])) < 1e-5, "{name}: {times:?}");
        for (step, expected) in plan.steps.iter().zip(numbers(&case["ratios"])) {
            let ratio = step.noise / step.signal;
            assert!((ratio / expected - 1.0).abs() < 1e-5, "{name}: {ratio}, expected {expected}");
        }
        let first = init.iter().zip(&clean);
        let first =
            first.map(|(noise, clean)| plan.init_signal * clean + plan.init_noise_sigma * noise);
        let states = trajectory_from(&plan, first.collect(), &fresh);
        let end = &states[states.len() - init.len()..];
        let error = error(end, &numbers(&case["end"]));
        assert!(error < 1e-5, "{name}: {error:.1e}");
    }
    assert_eq!((cases.len(), without_steps), (112, 8));
}
