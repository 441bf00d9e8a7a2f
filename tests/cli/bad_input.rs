//! Mistakes: what is refused, with which exit code, and which words tell the user what to change.

use std::fs;

use safetensors::tensor::Dtype;

use crate::harness::{Project, fixture};
use crate::weights;
use crate::weights::Weights;

/// A weight of the UNet that every test of weights changes.
const KEY: &str = "conv_in.weight";

/// Panics unless the model with this change in its UNet is refused, with these texts.
#[track_caller]
fn refuses_weights(change: impl FnOnce(&mut Weights), texts: &[&str]) {
    let project = Project::with_weights("unet", change);
    let file = "unet/diffusion_pytorch_model.safetensors";
    project.learn("photos", "").fails(1, &[&[file], texts].concat());
    assert!(!project.path("bank").exists(), "a model is checked before a bank is made");
}

/// Keys that are missing, left over, of another shape, or not finite are named.
#[test]
fn broken_weights_are_named() {
    refuses_weights(|w| drop(w.remove(KEY)), &["`conv_in.weight` is missing"]);
    let extra = |w: &mut Weights| drop(w.insert("conv_in.scale".into(), w[KEY].clone()));
    refuses_weights(extra, &["`conv_in.scale` is not used"]);
    let flat = |w: &mut Weights| w.get_mut(KEY).unwrap().1 = vec![24 * 4, 3, 3];
    refuses_weights(flat, &["`conv_in.weight`", "[96, 3, 3]", "[24, 4, 3, 3]"]);
    let nan = |w: &mut Weights| w.get_mut(KEY).unwrap().2[..4].fill(0xFF);
    refuses_weights(nan, &["`conv_in.weight`", "NaN"]);
}

/// The text encoder and the VAE are checked like the UNet, and half precision is read.
#[test]
fn every_component_is_checked() {
    for (component, key) in
        [("text_encoder", "text_model.final_layer_norm.weight"), ("vae", "decoder.conv_out.bias")]
    {
        let project = Project::with_weights(component, |weights| {
            let name = weights.keys().find(|name| key.ends_with(*name)).cloned();
            weights.remove(&name.unwrap_or_else(|| panic!("no {key}")));
        });
        let end = key.trim_start_matches("text_model.");
        project.learn("photos", "").fails(1, &[component, end, "is missing"]);
    }
    let half = Project::with_weights("vae", |weights| {
        let bias = weights.get_mut("decoder.conv_out.bias").unwrap();
        *bias = (Dtype::F16, bias.1.clone(), vec![0; bias.2.len() / 2]);
    });
    half.learn("photos", "--steps 1").succeeds();
}

/// Model files that are truncated, missing or not a model.
#[test]
fn damaged_model_files_are_named() {
    let project = Project::new(&["cat"]).with_own_model();
    let file = project.weight_file("unet");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let name = file.to_str().unwrap();
    project.learn("photos", "").fails(1, &[name, "is damaged or truncated"]);
    fs::write(&file, &whole[..5]).unwrap();
    project.learn("photos", "").fails(1, &[name, "is damaged or truncated"]);
    fs::remove_file(&file).unwrap();
    project.learn("photos", "").fails(1, &["model/unet holds no weights"]);
    fs::write(project.path("model/unet/config.json"), "{").unwrap();
    project.learn("photos", "").fails(1, &["model/unet/config.json"]);
    fs::remove_dir_all(project.path("model")).unwrap();
    project.learn("photos", "").fails(2, &["there is no", "model: --model is a diffusers folder"]);
}

/// A bank works with its own model only; both fingerprints are shown.
#[test]
fn another_model_is_refused() {
    let project = Project::with_bank().with_own_model();
    let file = project.weight_file("unet");
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 4;
    bytes[last] ^= 1;
    fs::write(&file, bytes).unwrap();
    let bank = project.bank();
    project.write("photos/kite/0.png", fs::read(fixture("images/cmyk.jpg")).unwrap());
    for run in [project.learn("photos", ""), project.generate("<mug>", "--bank bank")] {
        let stderr = run.fails(1, &["bank was made for another base model"]).stderr;
        let is_digest = |w: &&str| w.len() == 32 && w.chars().all(|c| c.is_ascii_hexdigit());
        let mut digests: Vec<_> = stderr.split_whitespace().filter(is_digest).collect();
        digests.dedup();
        assert_eq!(digests.len(), 2, "{stderr}");
        assert!(project.inspect()["base"]["fingerprint"] == digests[0], "{stderr}");
    }
    project.bank().assert_same(&bank);
}

/// Folders without images say what is there and what would do; nothing is made.
#[test]
fn data_without_images_are_refused() {
    let project = Project::new(&[]);
    project.write("photos/notes.txt", "no images");
    project.learn("photos", "").fails(1, &["no training images in photos", "FOLDER/*.jpg"]);
    project.learn("nowhere", "").fails(1, &["no training images in nowhere", "no such path"]);
    project.write("all/photos/cat/0.png", fs::read(fixture("images/cmyk.jpg")).unwrap());
    project.learn("all", "").fails(1, &["did you mean all/photos?"]);
    assert!(!project.path("bank").exists());
}

/// All images that cannot be read are named at once.
#[test]
fn damaged_images_are_named() {
    let project = Project::new(&["cat"]);
    let whole = fs::read(project.path("photos/cat/0.png")).unwrap();
    project.write("photos/cat/2.png", &whole[..whole.len() / 2]);
    project.write("photos/cat/3.jpg", b"\xFF\xD8\xFF\xE0 and no more");
    project.learn("photos", "").fails(1, &["2 images", "photos/cat/2.png", "photos/cat/3.jpg"]);
    assert_eq!(project.ids(), [""; 0]);
}

/// An id may be used once: in a manifest, and in a bank.
#[test]
fn ids_are_unique() {
    let project = Project::new(&["cat"]);
    let twice = "[[concept]]\nid = 'tom'\nclass = 'cat'\nimages = 'photos/cat'\n".repeat(2);
    project.write("twice.toml", twice);
    project.learn("twice.toml", "").fails(1, &["`tom` is used twice", "concept[0]", "concept[1]"]);

    let project = Project::with_bank();
    let bank = project.bank();
    project.write("photos/mug/0.png", fs::read(fixture("images/cmyk.jpg")).unwrap());
    project
        .learn("photos", "")
        .fails(1, &["already holds a concept `mug`", "another id", "--resume"]);
    // They would share a folder on some systems.
    let renamed = project.learn("photos/mug", "--id MUG --resume");
    renamed.fails(1, &["already holds a concept `mug`"]);
    project.bank().assert_same(&bank);
}

/// Ids and classes that cannot be used name the option that changes them.
#[test]
fn bad_ids_and_classes_name_the_option() {
    let project = Project::new(&["cat", "001"]);
    project.learn("photos/cat", "--id a/b").fails(2, &["`a/b` is not a valid", "--id"]);
    project.learn("photos/001", "").fails(1, &["does not tell the class word", "--class"]);
    project
        .learn("photos", "--class cat")
        .fails(2, &["class: it applies to one", "key `class`", "--class"]);
}

/// A caption that names another concept is found before training, not when its turn comes.
#[test]
fn captions_name_their_own_concept() {
    let project = Project::new(&["cat"]);
    project.write("photos/cat/1.txt", "a photo of <sks> cat");
    project.learn("photos", "").fails(1, &["1.png", "a photo of <sks> cat", "<cat>"]);
    project.write("photos/cat/1.txt", "a photo of <cat>, asleep");
    project.learn("photos", "--steps 1").succeeds();
}

/// Captions and templates that do not fit are found before training too; one that names its concept
/// twice is no mistake, and an end that does not fit is told.
#[test]
fn prompts_are_tried_before_training() {
    let project = Project::new(&["cat"]);
    project.write("photos/cat/1.txt", "very ".repeat(100) + "sleepy cat");
    let texts = ["`cat`", "very sleepy {}", "too long", "shorten the text before it"];
    for options in ["--steps 1", "--plan"] {
        project.learn("photos", options).fails(1, &texts);
    }
    assert_eq!(project.ids(), [""; 0]);
    project.write("settings.toml", "[captions]\nshuffle = true\n");
    project.write("photos/cat/1.txt", "asleep, a cat, ".to_string() + &"very, ".repeat(100));
    project.learn("photos", "--steps 1").fails(1, &["asleep, very", "a {}`", "too long"]);
    project.write("settings.toml", "");
    fs::remove_file(project.path("photos/cat/1.txt")).unwrap();
    let concept = "[[concept]]\nid = \"cat\"\nimages = \"photos/cat\"\nclass = \"cat\"\n";
    let long = "a photo of {}".to_string() + &" and so on".repeat(40);
    project.write("cat.toml", format!("{concept}templates = [\"{{}} beside <TOK>\", \"{long}\"]"));
    let run = project.learn("cat.toml", "--steps 1").succeeds();
    assert!(run.stderr.contains("the end of `a photo of {} and so on"), "{}", run.stderr);
}

/// Settings that do not exist or make no sense are named.
#[test]
fn bad_settings_are_named() {
    let project = Project::new(&["cat"]);
    let cases = [
        ("stepz = 3", 2, "unknown field `stepz`"),
        ("steps = 'many'", 2, "line 1"),
        ("method = 'sgd'", 2, "`alternating`"),
        ("steps = 0", 2, "`steps` must be at least 1"),
        ("inner = 0", 2, "`inner` must be at least 1"),
        ("down_norm = nan", 2, "`down_norm` is NaN"),
        ("lr_unet = -1.0", 2, "`lr_unet` is -1"),
    ];
    for (settings, code, text) in cases {
        project.write("settings.toml", settings);
        project.learn("photos", "").fails(code, &[text]);
    }
    project.write("settings.toml", "");
    for side in [50, 56] {
        let text = format!("{side} pixels are not a positive multiple of the model's 16");
        project.learn("photos", &format!("--resolution {side}")).fails(2, &["resolution", &text]);
    }
    fs::remove_file(project.path("settings.toml")).unwrap();
    project.learn("photos", "").fails(2, &["cannot read settings.toml"]);
}

/// A loss that is not a number ends the run, and says which rate to lower.
#[test]
fn diverging_is_noticed() {
    let project = Project::new(&["cat"]);
    project
        .learn("photos", "--steps 4 --lr-unet 1e30")
        .fails(1, &["`cat`", "--lr-unet", "at step"]);
    assert_eq!(project.ids(), [""; 0]);
}

/// `--strict-capacity` refuses a rank for which there is no room.
#[test]
fn full_layers_are_refused_if_asked() {
    let project = Project::with_bank();
    project.write("photos/kite/0.png", fs::read(fixture("images/cmyk.jpg")).unwrap());
    let strict = "--rank 20 --strict-capacity";
    project
        .learn("photos", strict)
        .fails(1, &["no capacity left for `kite`", "lower `rank`", "--rank"]);
}

/// A folder with something else in it does not become a bank, and is no bank to read either.
#[test]
fn other_folders_are_no_banks() {
    let project = Project::new(&["cat"]);
    project.write("bank/thesis.txt", "all of it");
    project.learn("photos", "").fails(1, &["bank is not a bank", "choose another folder"]);
    project.generate("<cat>", "--bank bank").fails(1, &["bank/bank.json"]);
    let run = project.run(&["inspect", "bank"]).fails(1, &["bank/bank.json"]);
    assert!(!run.stderr.contains("--bank"), "{}", run.stderr);
    project.run(&["inspect", "settings.toml"]).fails(2, &["neither a bank nor a file of tensors"]);
    project.run(&["inspect", "nothing"]).fails(2, &["nothing: No such file"]);

    project.write("bank/bank.json", "{}");
    project.learn("photos", "").fails(1, &["bank/bank.json is damaged", "version"]);
}

/// Damaged files of a bank are named before anything is generated or learnt.
#[test]
fn damaged_banks_are_named() {
    let project = Project::with_bank();
    let adapter = "bank/concepts/mug/adapter.safetensors";
    let whole = fs::read(project.path(adapter)).unwrap();
    project.write(adapter, &whole[..whole.len() / 2]);
    project.generate("<mug>", "--bank bank").fails(1, &[adapter, "is damaged"]);
    project.write("photos/kite/0.png", fs::read(fixture("images/cmyk.jpg")).unwrap());
    // Without the cache, B of the mug is lost.
    fs::remove_dir_all(project.path("bank/basis")).unwrap();
    project.learn("photos", "").fails(1, &["orthogonal to `mug`", adapter, "is damaged"]);
    fs::remove_file(project.path(adapter)).unwrap();
    let run = project.run(&["inspect", "bank"]).fails(1, &["cannot be trusted: mug"]);
    assert!(run.stdout.contains(&format!("mug: cannot read {adapter}")), "{}", run.stdout);
    assert!(!project.path("out").exists());
}

/// Concepts that are not there, in the prompt and among the options.
#[test]
fn unknown_concepts_are_refused() {
    let project = Project::with_bank();
    let generate = |prompt, options: &str| project.generate(prompt, options);
    let known = "known: cat, dog, mug";
    generate("a <bird>", "--bank bank").fails(1, &["no concept <bird>", known]);
    generate("a <mug>", "--bank bank --concept bird").fails(1, &["no concept <bird>", known]);
    let unselected = ["<mug> is in the bank", "--concept mug"];
    generate("a <mug>", "--bank bank --concept cat").fails(2, &unselected);
    generate("a <mug>", "").fails(1, &["no concept <mug>", "give a bank"]);
    generate("a mug", "--concept mug").fails(2, &["--concept needs --bank"]);
    let twice = "--bank bank --concept mug --concept mug";
    generate("a <mug>", twice).fails(1, &["`mug` is given twice"]);
    generate("a <mug>", "--bank bank --concept mug=big").fails(2, &["`big` is no number"]);
    generate("a <mug>", "--bank nowhere").fails(1, &["nowhere/bank.json", "`learn` makes a bank"]);
}

/// Sizes, numbers and files that `generate` cannot use.
#[test]
fn bad_generate_options_are_refused() {
    let project = Project::new(&[]);
    let generate = |options: &str| project.generate("a mug", options);
    generate("--size 50x64").fails(2, &["--size 50x64", "multiples of 16"]);
    generate("--size 0x64").fails(2, &["--size 0x64"]);
    generate("--size big").fails(2, &["`big` is no size like 512x768"]);
    generate("--num 0").fails(2, &["--num", "at least 1"]);
    generate("--guidance nan").fails(2, &["--guidance NaN is no number"]);
    generate("--sampler fast").fails(2, &["`fast`", "ddim"]);
    generate("--latents nowhere").fails(2, &["nowhere: No such file"]);
    generate("--latents settings.toml").fails(2, &["settings.toml", "no safetensors file"]);
    generate("--out settings.toml").fails(1, &["cannot create settings.toml"]);
    generate("--save-latents no/where").fails(1, &["cannot write no/where"]);

    weights::write_latents(&project.path("small"), [1, 4, 4, 4], &[0.0; 64]);
    generate("--latents small").fails(2, &["[1, 4, 4, 4]", "expected F32 [1, 4, 8, 8]"]);
    generate("--latents small --num 2 --size 32").fails(2, &["expected F32 [2, 4, 4, 4]"]);
}
