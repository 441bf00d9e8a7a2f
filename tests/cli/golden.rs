//! Numbers that a change of the code's structure must not change: every method on the tiny model,
//! an image sampled with the result, and a short demo with the built-in model.
//!
//! `SEQLORA_GOLDEN=write cargo test --release -p seqlora --test cli golden` records them anew. A
//! commit that does so says which defect or which order of summation changed them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::harness::{Project, fixture};

/// Relative difference that is allowed on the kind of processor that recorded the numbers.
const TOLERANCE: f64 = 1e-6;

/// The same on others: Adam divides by gradients that are nearly zero, so that a last bit may grow.
const OTHER_PROCESSOR: f64 = 2e-3;

/// Numbers by name, each with the scale that its error is relative to.
type Numbers = BTreeMap<String, (f64, f64)>;

/// `golden.json`
#[derive(Debug, Serialize, Deserialize)]
struct Golden {
    /// The vector instructions that the numbers were computed with.
    processor: String,
    numbers: Numbers,
}

/// The instructions that the kernels choose by.
pub fn processor() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx512f") {
        return "x86-64 with AVX-512";
    } else if std::is_x86_feature_detected!("fma") {
        return "x86-64 with FMA";
    }
    std::env::consts::ARCH
}

/// Norm of each tensor of a safetensors file, and its projection onto fixed weights that tell its
/// elements apart.
fn add_tensors(numbers: &mut Numbers, name: &str, file: &Path) {
    let bytes = fs::read(file).unwrap();
    for (tensor, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
        let number = |b: &[u8]| f64::from(f32::from_le_bytes(b.try_into().unwrap()));
        let values: Vec<f64> = view.data().chunks_exact(4).map(number).collect();
        let norm = values.iter().map(|x| x * x).sum::<f64>().sqrt();
        let weighted = values.iter().enumerate().map(|(i, x)| x * (i as f64 * 0.7 + 0.3).sin());
        numbers.insert(format!("{name}/{tensor}/norm"), (norm, norm));
        numbers.insert(format!("{name}/{tensor}/projection"), (weighted.sum(), norm));
    }
}

/// All numbers of a JSON value but times, under their paths.
fn add_json(numbers: &mut Numbers, name: &str, value: &Value) {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(key, _)| key.as_str() != "seconds")
            .for_each(|(key, value)| add_json(numbers, &format!("{name}/{key}"), value)),
        Value::Array(entries) => entries
            .iter()
            .enumerate()
            .for_each(|(at, value)| add_json(numbers, &format!("{name}/{at}"), value)),
        Value::Number(number) => {
            let number = number.as_f64().expect("a number");
            numbers.insert(name.into(), (number, number.abs().max(1.0)));
        }
        _ => {}
    }
}

/// Two concepts by each method, and an image with both.
fn learn(numbers: &mut Numbers) {
    for method in ["seqlora", "alternating", "lora"] {
        let project = Project::new(&["cat", "dog"]);
        project
            .learn("photos", &format!("--method {method} --steps 3 --outer 2 --inner 2"))
            .succeeds();
        for id in ["cat", "dog"] {
            let folder = project.path("bank/concepts").join(id);
            let name = format!("{method}/{id}");
            add_tensors(numbers, &name, &folder.join("adapter.safetensors"));
            add_tensors(numbers, &name, &folder.join("tokens.safetensors"));
            let metrics = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
            for (step, line) in metrics.lines().enumerate() {
                add_json(numbers, &format!("{name}/{step}"), &serde_json::from_str(line).unwrap());
            }
        }
        let options = "--bank bank --seed 3 --save-latents latents.safetensors";
        project.generate("a <cat> near a <dog>", options).succeeds();
        add_tensors(numbers, &format!("{method}/image"), &project.path("latents.safetensors"));
    }
}

/// Two individuals of the toy world, a few steps each by the method.
fn demo(numbers: &mut Numbers) {
    let project = Project::new(&[]);
    let options =
        "demo --out demo --seed 0 --concepts 2 --images 1 --steps 4 --method seqlora --json";
    let arguments: Vec<&str> = options.split_whitespace().collect();
    add_json(numbers, "demo", &project.run(&arguments).succeeds().json());
}

#[test]
fn golden_numbers_stay() {
    let mut numbers = Numbers::new();
    learn(&mut numbers);
    demo(&mut numbers);
    let file = fixture("golden.json");
    if std::env::var("SEQLORA_GOLDEN").is_ok_and(|what| what == "write") {
        let golden = Golden { processor: processor().into(), numbers };
        fs::write(&file, serde_json::to_string_pretty(&golden).unwrap() + "\n").unwrap();
        return;
    }
    let golden: Golden = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let tolerance = if golden.processor == processor() { TOLERANCE } else { OTHER_PROCESSOR };
    let names = |numbers: &Numbers| numbers.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&numbers), names(&golden.numbers), "the same numbers by name");
    let far = |(name, (expected, scale)): (&String, &(f64, f64))| {
        let (found, _) = numbers[name];
        let error = (found - expected).abs() / scale.max(f64::MIN_POSITIVE);
        (error.is_nan() || error > tolerance).then(|| format!("{name}: {expected} became {found}"))
    };
    let changed: Vec<String> = golden.numbers.iter().filter_map(far).collect();
    assert!(changed.is_empty(), "{} numbers changed:\n{}", changed.len(), changed.join("\n"));
}
