//! `seqlora export`: concepts as files of other tools.

use std::fs;

use burn_seqlora::files::sha256;

use crate::harness::Project;
use crate::resume::unbroken;

/// A project with a bank of `cat` and `dog`.
fn project() -> Project {
    let project = Project::new(&["cat", "dog"]);
    unbroken().write(&project.path("bank"));
    project
}

/// Nothing is written through a folder that is a link, with `--overwrite` neither.
#[cfg(unix)]
#[test]
fn nothing_is_exported_through_links() {
    let project = project();
    let victim = project.path("victim");
    fs::create_dir_all(&victim).unwrap();
    fs::create_dir_all(project.path("out")).unwrap();
    let options = "export bank --out out --overwrite --format kohya --format peft";
    for inside in ["kohya", "peft", "textual-inversion", "peft/cat/unet"] {
        let link = project.path("out").join(inside);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        project.run(&options.split(' ').collect::<Vec<_>>()).fails(1, &[inside, "link"]);
        fs::remove_file(link).unwrap();
    }
    assert_eq!(fs::read_dir(victim).unwrap().count(), 0);
    assert_eq!(fs::read_dir(project.path("out")).unwrap().count(), 1);
}

/// Each concept in each format, every module found again, and the words beside them.
#[test]
fn concepts_are_written_in_every_format() {
    let project = project();
    let formats = ["kohya", "diffusers", "peft"];
    let options: Vec<&str> = formats.iter().flat_map(|format| ["--format", *format]).collect();
    let start = ["export", "bank", "--out", "out", "--json"];
    let export = || project.run(&[&start[..], &options].concat());
    let result = export().succeeds().json();
    let adapters = result["adapters"].as_array().unwrap();
    assert_eq!(adapters.len(), 2 * formats.len());
    for adapter in adapters {
        let modules = adapter["modules"].as_u64().unwrap();
        assert!(modules > 0 && adapter["matched"] == modules, "{adapter:#}");
        assert!(adapter["relative_error"].as_f64().unwrap() <= 1e-6, "{adapter:#}");
    }
    for file in [
        "kohya/cat.safetensors",
        "kohya/dog.safetensors",
        "diffusers/cat/pytorch_lora_weights.safetensors",
        "peft/dog/unet/adapter_config.json",
        "textual-inversion/cat.safetensors",
    ] {
        assert!(project.path("out").join(file).is_file(), "{file}");
    }
    let words = &result["words"][0];
    assert_eq!(words["id"], "cat");
    // The embeddings of a word differ between the layers, and their mean loses that.
    assert!(words["embeddings_per_word"].as_u64().unwrap() > 1);
    assert!(words["relative_error"].as_f64().unwrap() > 0.0, "{words:#}");

    export().fails(2, &["cat/pytorch_lora_weights.safetensors is there already", "--overwrite"]);
    let again = project.run(&[&start[..], &options, &["--overwrite"]].concat());
    assert_eq!(again.succeeds().json(), result);
}

/// What web interfaces and kohya's scripts show of a file, as far as the bank knows it.
#[test]
fn kohyas_file_says_how_it_was_trained() {
    let project = project();
    let start = ["export", "bank", "--out", "out", "--format", "kohya"];
    project.run(&start).succeeds();
    project.run(&[&start[..], &["--pack", "pets"]].concat()).succeeds();
    let metadata = |name: &str| {
        let file = format!("out/kohya/{name}.safetensors");
        project.run(&["inspect", &file, "--json"]).succeeds().json()["metadata"].clone()
    };
    let cat = metadata("cat");
    let images = fs::read_dir(project.path("photos/cat")).unwrap().count().to_string();
    for (key, text) in [
        ("ss_steps", "8"),
        ("ss_num_train_images", images.as_str()),
        ("ss_unet_lr", "0.003"),
        ("ss_text_encoder_lr", "0.001"),
        ("ss_output_name", "cat"),
    ] {
        assert_eq!(cat[key], text, "{key}: {cat:#}");
    }
    // A1111 finds a file again by the digest of what follows its header.
    let bytes = fs::read(project.path("out/kohya/cat.safetensors")).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    assert_eq!(cat["sshs_model_hash"], sha256(&bytes[8 + header..]));
    // The sum of two was not trained in any number of steps.
    let pack = metadata("pets");
    assert!(pack["ss_steps"].is_null() && pack["sshs_legacy_hash"].is_string(), "{pack:#}");
}

/// The sum of concepts, with their strengths, as one adapter whose rank is the sum of theirs.
#[test]
fn a_pack_is_one_adapter() {
    let project = project();
    let pack = ["--pack", "pets", "--concept", "cat=0.5", "--concept", "dog", "--format", "kohya"];
    let start = ["export", "bank", "--out", "out", "--json"];
    let result = project.run(&[&start[..], &pack].concat()).succeeds().json();
    assert_eq!(result["adapters"].as_array().unwrap().len(), 1);
    assert_eq!(result["adapters"][0]["concepts"], serde_json::json!(["cat", "dog"]));
    let pack = project.run(&["inspect", "out/kohya/pets.safetensors", "--json"]).succeeds().json();
    assert_eq!(
        (&pack["format"], &pack["metadata"]["ss_output_name"]),
        (&"kohya".into(), &"pets".into())
    );
    let bank = project.run(&["inspect", "bank", "--json"]).succeeds().json();
    let rank = |concept: usize| bank["concepts"][concept]["rank"].as_u64().unwrap();
    let modules = pack["modules"].as_array().unwrap();
    let ranks = modules.iter().map(|module| module["rank"].as_u64().unwrap());
    assert_eq!(ranks.max(), Some(rank(0) + rank(1)));
    assert!(modules.iter().all(|module| module["alpha"].as_f64() == module["rank"].as_f64()));
}

#[test]
fn what_cannot_be_exported_is_refused() {
    let project = project();
    let run =
        |options: &[&str]| project.run(&[&["export", "bank", "--out", "out"], options].concat());
    run(&[]).fails(2, &["--format"]);
    run(&["--format", "ckpt"]).fails(2, &["kohya", "diffusers", "peft", "textual-inversion"]);
    run(&["--format", "peft", "--concept", "cow"]).fails(1, &["cow", "cat, dog"]);
    run(&["--format", "peft", "--pack", "../pets"]).fails(2, &["--pack ../pets", "not a valid id"]);
    assert!(!project.path("out").exists(), "nothing is written");
    fs::write(project.path("bank/concepts/cat/adapter.safetensors"), "x").unwrap();
    run(&["--format", "kohya"]).fails(1, &["cat", "adapter.safetensors"]);
}
