//! `seqlora generate` when all goes well.

use std::fs;
#[cfg(unix)]
use std::thread::sleep;
#[cfg(unix)]
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::Project;
use crate::run::Run;
#[cfg(unix)]
use crate::run::Running;
use crate::weights::{noise, read, write_latents};

/// Width and height of a PNG file.
fn dimensions(png: &[u8]) -> (u32, u32) {
    let image = image::load_from_memory(png).unwrap();
    (image.width(), image.height())
}

/// One, two and three concepts at once: each image is another one.
#[test]
fn any_number_of_concepts() {
    let project = Project::with_bank();
    let prompts = ["a photo", "a photo of <mug>", "<mug> and <cat>", "<mug>, <cat> and <dog>"];
    let images = prompts.map(|prompt| project.image(prompt, ""));
    for (number, image) in images.iter().enumerate() {
        assert_eq!(dimensions(image), (64, 64));
        assert!(!images[..number].contains(image), "{}", prompts[number]);
    }
    let settings = b"parameters";
    assert!(images[1].windows(settings.len()).any(|bytes| bytes == settings));
}

/// The base model alone needs no bank.
#[test]
fn the_base_model_alone() {
    let project = Project::new(&[]);
    let run = project.generate("a photo of a mug", "--size 32x48 --json").succeeds().json();
    assert_eq!(run["images"][0]["file"], "out/00000.png");
    assert_eq!(dimensions(&fs::read(project.path("out/00000.png")).unwrap()), (32, 48));
}

/// Images that are there already stay, and the new ones are numbered on from them.
#[test]
fn nothing_is_written_over() {
    let project = Project::new(&[]);
    let first = project.generate("a mug", "--out kept --json").succeeds().json();
    assert_eq!(first["images"][0]["file"], "kept/00000.png");
    let before = fs::read(project.path("kept/00000.png")).unwrap();
    project.write("kept/00007.png", "not ours");
    let second = project.generate("a cat", "--out kept --num 2 --json").succeeds().json();
    let file = |number: usize| &second["images"][number]["file"];
    assert_eq!((file(0), file(1)), (&"kept/00008.png".into(), &"kept/00009.png".into()));
    assert!(before == fs::read(project.path("kept/00000.png")).unwrap());
}

/// A seed gives the same bytes each time; another seed, sampler, guidance or negative prompt
/// gives others.
#[test]
fn the_seed_decides() {
    let project = Project::with_bank();
    let image = |options: &str| project.image("a photo of <mug>", options);
    let first = image("--seed 3");
    assert!(first == image("--seed 3"), "one seed gave two images");
    let samplers = ["--sampler ddim", "--sampler ddpm", "--sampler euler", "--sampler euler-a"];
    let others = [&samplers[..], &["--seed 4", "--guidance 1", "--negative a"]].concat();
    for options in others {
        let seed = if options.contains("--seed") { "" } else { "--seed 3" };
        assert!(first != image(&format!("{options} {seed}")), "{options} changes nothing");
    }
}

/// Half precision gives nearly the same latents.
#[test]
fn half_precision_draws_nearly_the_same() {
    let project = Project::with_bank();
    let latents = |precision: &str| {
        let options = format!("--bank bank --precision {precision} --save-latents {precision}.st");
        project.generate("a photo of <mug>", &options).succeeds();
        let file = read(&project.path(&format!("{precision}.st")));
        let numbers = file["latents"].2.chunks_exact(4);
        numbers.map(|x| f32::from_le_bytes(x.try_into().unwrap())).collect::<Vec<_>>()
    };
    let exact = latents("f32");
    let length = exact.iter().map(|x| x * x).sum::<f32>().sqrt();
    for (precision, most) in [("f16", 0.02), ("bf16", 0.2)] {
        let rounded = latents(precision);
        let squares = rounded.iter().zip(&exact).map(|(a, b)| (a - b).powi(2));
        let apart = squares.sum::<f32>().sqrt();
        assert!(apart > 0.0 && apart < most * length, "{precision}: {apart} of {length}");
    }
}

/// A sampler that draws in every step draws the same again, whatever the start, and for each
/// image anew.
#[test]
fn an_ancestral_sampler_repeats() {
    let project = Project::with_bank();
    let euler_a = |options: &str| {
        project.generate("<mug>", &format!("--bank bank --sampler euler-a {options}")).succeeds();
        [0, 1].map(|i| fs::read(project.path(&format!("out/0000{i}.png"))).unwrap())
    };
    let [first, second] = euler_a("--num 2 --seed 3");
    assert!([first.clone(), second] == euler_a("--num 2 --seed 3"), "one seed gave other images");

    let one = noise(4 * 8 * 8, 5);
    let twice = [one.clone(), one].concat();
    write_latents(&project.path("same.safetensors"), [2, 4, 8, 8], &twice);
    let [left, right] = euler_a("--num 2 --latents same.safetensors --seed 3").map(|p| pixels(&p));
    assert!(left != right, "two images drew the same noise on their way");
    assert!(left != pixels(&first), "the start changes nothing");
}

/// `--concept` picks concepts and their strength.
#[test]
fn concepts_are_picked_and_scaled() {
    let project = Project::with_bank();
    let image = |concepts: &str| project.image("a photo of <mug>", concepts);
    let alone = image("--concept mug");
    for concepts in ["--concept mug=1.0", "--concept <mug>"] {
        assert!(alone == image(concepts), "{concepts} means something else");
    }
    for concepts in ["--concept mug=0.5", "--concept mug --concept dog"] {
        assert!(alone != image(concepts), "{concepts} changes nothing");
    }
}

/// Noise from a file: image by image the same as in one go, whatever the seed.
#[test]
fn noise_from_a_file_reproduces() {
    let project = Project::with_bank();
    let noise = noise(2 * 4 * 8 * 8, 5);
    let (first, second) = noise.split_at(noise.len() / 2);
    write_latents(&project.path("both.safetensors"), [2, 4, 8, 8], &noise);
    write_latents(&project.path("first.safetensors"), [1, 4, 8, 8], first);
    write_latents(&project.path("second.safetensors"), [1, 4, 8, 8], second);

    project
        .generate("<cat>", "--bank bank --num 2 --latents both.safetensors --out both")
        .succeeds();
    let both = |name: &str| pixels(&fs::read(project.path("both").join(name)).unwrap());
    let one = |options: &str| pixels(&project.image("<cat>", options));
    let (left, right) = (both("00000.png"), both("00001.png"));
    assert!(left == one("--latents first.safetensors --seed 1"), "the first one differs");
    assert!(right == one("--latents second.safetensors --seed 2"), "the second one differs");
    assert!(left != right, "one noise for both");
}

/// What is seen, without the settings that are stored beside it.
fn pixels(png: &[u8]) -> Vec<u8> {
    image::load_from_memory(png).unwrap().into_rgb8().into_raw()
}

/// Ctrl-C ends it with 130; whole images stay, and so do their latents and the list of them.
#[cfg(unix)]
#[test]
fn an_interrupted_run_keeps_its_images() {
    let project = Project::new(&[]);
    let options = "--num 10000 --json --save-latents latents";
    let mut run = Running::start(project.generate_command("a mug", options));
    run.wait_for(&project.path("out/00000.png"));
    let run = run.interrupt().fails(130, &["stopped after"]);
    assert_eq!(dimensions(&fs::read(project.path("out/00000.png")).unwrap()), (64, 64));
    let result = run.json();
    assert_eq!(result["interrupted"], true);
    let images = result["images"].as_array().expect("a list");
    let last = images.last().expect("at least one");
    assert_eq!(last["number"], images.len() - 1);
    assert_eq!(read(&project.path("latents"))["latents"].1, [images.len(), 4, 8, 8]);
}

/// Nor does it wait for a step that takes long: here of 1024 x 1024 pixels.
#[cfg(unix)]
#[test]
fn an_interrupt_does_not_wait_for_a_long_step() {
    let project = Project::new(&[]);
    let run = Running::start(project.generate_command("a mug", "--size 1024x1024 --json"));
    while !project.path("out").is_dir() {
        sleep(Duration::from_millis(5));
    }
    sleep(Duration::from_secs(1));
    let start = Instant::now();
    let run = run.interrupt().fails(130, &["stopped after 0 images"]);
    // 1.2 s of it are the program's patience with a step, and other tests run beside it.
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert_eq!(run.json()["interrupted"], true);
}

/// The settings of an image are stored with it, so that it can be made again.
#[test]
fn images_tell_how_they_were_made() {
    let project = Project::with_bank();
    let options = "--concept mug=0.5 --concept dog --seed 3 --size 32x48 --guidance 2";
    let image = project.image("a <mug>", options);
    let text = String::from_utf8_lossy(&image).into_owned();
    let hash = project.inspect()["base"]["fingerprint"].as_str().unwrap().to_string();
    let model = project.model.display();
    let bank: Value = serde_json::from_slice(project.bank().bytes("bank.json")).unwrap();
    let digest = |id: &str| bank["digests"][id].as_str().unwrap()[..12].to_string();
    let (mug, dog) = (digest("mug"), digest("dog"));
    let expected = format!(
        "Steps: 4, Sampler: dpm++2m, CFG scale: 2, Seed: 3, Number: 0, Size: 32x48, \
         Model: tiny-sd1, Model hash: {hash}, Precision: f32, Model path: {model}, \
         Prompt syntax: weighted, Bank: bank, Concepts: \"mug=0.5, dog=1\", \
         Input: {mug} concept mug, Input: {dog} concept dog, Input: "
    );
    assert!(text.contains(&expected), "{expected} is not in {text}");
}

/// Karras levels and spacings change the image and are told by it; what cannot be is refused.
#[test]
fn noise_levels_are_chosen() {
    let project = Project::new(&[]);
    let image = |options: &str| {
        let run = project.generate("a mug", options).succeeds();
        (fs::read(project.path("out/00000.png")).unwrap(), run.stderr)
    };
    let mut seen = vec![image("").0];
    for (options, text) in [
        ("--karras", "Sampler: dpm++2m, Schedule type: Karras, CFG scale"),
        ("--spacing leading", "Sampler: dpm++2m, Spacing: leading, CFG scale"),
        ("--spacing trailing", "Spacing: trailing"),
        ("--sampler euler-a", "Sampler: euler-a, CFG scale"),
        ("--sampler euler-a --karras", "Sampler: euler-a, Schedule type: Karras"),
        ("--sampler euler --karras --spacing trailing", "Schedule type: Karras, Spacing: trailing"),
    ] {
        let (png, _) = image(options);
        assert!(String::from_utf8_lossy(&png).contains(text), "{options}: no `{text}`");
        assert!(!seen.contains(&png), "{options} changes nothing");
        seen.push(png);
    }
    let (_, warning) = image("--karras --spacing trailing");
    assert!(warning.contains("do not depend on --spacing"), "{warning}");
    project
        .generate("a mug", "--sampler ddim --karras")
        .fails(2, &["--karras", "ddim has no Karras levels", "dpm++2m"]);
    project.generate("a mug", "--spacing odd").fails(2, &["--spacing", "trailing"]);
}

/// Guidance of 1 or less is none, as in diffusers; the negative prompt is then without effect, which is
/// told.
#[test]
fn little_guidance_is_none() {
    let project = Project::new(&[]);
    let latents = |options: &str| {
        let options = format!("{options} --negative ugly --save-latents latents");
        let run = project.generate("a mug", &options).succeeds();
        let made = fs::read(project.path("latents")).unwrap();
        fs::remove_file(project.path("latents")).unwrap();
        (made, run.stderr)
    };
    let (one, warning) = latents("--guidance 1");
    assert!(warning.contains("--negative has no effect"), "{warning}");
    for guidance in ["0.5", "0", "-3"] {
        assert!(latents(&format!("--guidance={guidance}")).0 == one, "{guidance} is not none");
    }
    let (more, warning) = latents("--guidance 1.1");
    assert!(more != one && !warning.contains("no effect"), "{warning}");
}

/// An id without its brackets is an ordinary word, which is told.
#[test]
fn ids_without_brackets_give_a_warning() {
    let project = Project::with_bank();
    let warning = |prompt| project.generate(prompt, "--bank bank").succeeds().stderr;
    let said = warning("a mug on grass");
    assert!(said.contains("`mug` in `a mug on grass`"), "{said}");
    assert!(said.contains("the prompt that uses it is `a <mug> on grass`"), "{said}");
    for prompt in ["a <mug> beside a mug", "mugs", "a photo"] {
        assert!(!warning(prompt).contains("warning"), "{prompt}");
    }
}

/// An id that is no ordinary word is a concept whose brackets were forgotten, unless its class is called so.
#[test]
fn unusual_ids_without_brackets_are_refused() {
    let project = Project::new(&["cat", "mug"]);
    project.learn("photos/cat", "--steps 1 --id cat-00 --class cat").succeeds();
    project.learn("photos/mug", "--steps 1 --id t-shirt --class t-shirt").succeeds();
    for (prompt, fixed) in [
        ("a photo of a cat-00", "write `a photo of a <cat-00>`"),
        ("a <t-shirt> on cat-00, asleep", "write `a <t-shirt> on <cat-00>, asleep`"),
    ] {
        let texts = ["is a concept without its brackets", fixed];
        project.generate(prompt, "--bank bank").fails(2, &texts);
    }
    let run = project.generate("a t-shirt", "--bank bank").succeeds();
    assert!(run.stderr.contains("that uses it is `a <t-shirt>`"), "{}", run.stderr);
    project.generate("a photo of a cat-00", "--bank bank --concept t-shirt").succeeds();
    project.image("a <cat-00>, cat-00", "");
}

/// Several prompts and seeds in one run, in batches, give the images that each of them gives alone; and
/// an image of a seed can be made without the ones before it.
#[test]
fn images_do_not_depend_on_their_company() {
    let project = Project::with_bank();
    project.write("prompts.txt", "a <mug>\n\n  <cat> on grass  \n");
    let together = |batch: usize| {
        let options = format!("--bank bank --seeds 3,5 --num 2 --batch {batch} --json");
        let mut command = project.generate_command("a <dog>", &options);
        let run = Run::of({
            command.args(["--prompts", "prompts.txt"]);
            command
        });
        let images = run.succeeds().json()["images"].as_array().expect("a list").clone();
        let read = |image: &Value| {
            let file = project.path(image["file"].as_str().expect("a path"));
            let key = (image["prompt"].clone(), image["seed"].clone(), image["number"].clone());
            (key, pixels(&fs::read(file).unwrap()))
        };
        images.iter().map(read).collect::<Vec<_>>()
    };
    let (alone, batched) = (together(1), together(5));
    assert_eq!(alone.len(), 3 * 2 * 2);
    for ((key, one), (same, other)) in alone.iter().zip(&batched) {
        assert_eq!(key, same);
        let apart = one.iter().zip(other).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(apart <= Some(1), "{key:?} differs by {apart:?} in a batch");
    }
    let last = &alone[11];
    assert_eq!(last.0, ("<cat> on grass".into(), 5.into(), 1.into()));
    let single = project.image("<cat> on grass", "--seed 5 --image 1");
    assert!(pixels(&single) == last.1, "image 1 of seed 5 is another one alone");
    project.generate("a mug", "--image 1 --num 2").fails(2, &["--image", "--num"]);
    project.generate("a mug", "--batch 0").fails(2, &["--batch", "at least 1"]);
}

/// Final latents are saved in the format that noise is read in.
#[test]
fn latents_are_saved() {
    let project = Project::new(&[]);
    project.generate("a mug", "--num 2 --size 48x32 --save-latents made.safetensors").succeeds();
    let made = read(&project.path("made.safetensors"));
    assert_eq!(made["latents"].1, [2, 4, 4, 6]);
    let again = "--num 2 --size 48x32 --latents made.safetensors --json";
    let run = project.generate("a mug", again).succeeds();
    assert_eq!(run.json()["images"].as_array().map(Vec::len), Some(2));

    let list = project.run(&["inspect", "made.safetensors", "--json"]).succeeds().json();
    assert_eq!(list["tensors"][0]["name"], "latents");
}
