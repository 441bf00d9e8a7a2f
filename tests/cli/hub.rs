//! Models by their id: from a cache, and from a small hub of our own.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use burn_seqlora::files::sha256;

use crate::files::Files;
use crate::harness::{Project, fixture};
use crate::hub_server::{COMMIT, Hub, ID, Manners};
use crate::run::{Run, Running};

const UNET: &str = "unet/diffusion_pytorch_model.safetensors";
const CACHED: &str = "hf/hub/models--someone--tiny-sd1";

/// `seqlora generate` with a model of this name, no network but `endpoint`, and the cache in `hf`.
fn generate(project: &Project, model: &str, endpoint: &str) -> Command {
    let prompt = ["generate", "--prompt", "a mug", "--steps", "2", "--out", "out", "--json"];
    let mut command = project.command(&prompt);
    for name in ["HUB_CACHE", "HUB_OFFLINE", "TOKEN", "TOKEN_PATH", "HUB_DOWNLOAD_TIMEOUT"] {
        command.env_remove(format!("HF_{name}"));
    }
    for name in ["XDG_CACHE_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
        command.env_remove(name);
    }
    for proxy in ["http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(proxy).env_remove(proxy.to_uppercase());
    }
    command.env("HF_HOME", project.path("hf")).env("HF_ENDPOINT", endpoint);
    command.args(["--model", model]);
    command
}

/// Nothing listens there.
const NOWHERE: &str = "http://127.0.0.1:9";

fn image(project: &Project) -> Vec<u8> {
    project.pixels()
}

/// What the fixture makes, given as a folder.
fn expected() -> Vec<u8> {
    let project = Project::new(&[]);
    Run::of(generate(&project, fixture("tiny-sd1").to_str().unwrap(), NOWHERE)).succeeds();
    image(&project)
}

/// A model in the cache is used without any network, wherever the variables put the cache.
#[test]
fn a_cached_model_needs_no_network() {
    let project = Project::new(&[]);
    let snapshot = project.path(CACHED).join("snapshots").join(COMMIT);
    Files::read(&fixture("tiny-sd1")).write(&snapshot);
    project.write(&format!("{CACHED}/refs/main"), COMMIT);
    Run::of(generate(&project, ID, NOWHERE)).succeeds();
    assert!(image(&project) == expected(), "a different image than from the folder");

    let mut elsewhere = generate(&project, ID, NOWHERE);
    elsewhere.env("HF_HUB_CACHE", project.path("hf/hub")).env("HF_HOME", project.path("no"));
    Run::of(elsewhere).succeeds();
    let mut at_home = generate(&project, ID, NOWHERE);
    at_home.env("HOME", project.path("")).env("HF_HOME", "~/hf");
    Run::of(at_home).succeeds();
    fs::rename(project.path("hf"), project.path("huggingface")).unwrap();
    let mut usual = generate(&project, ID, NOWHERE);
    usual.env_remove("HF_HOME").env("XDG_CACHE_HOME", project.path(""));
    Run::of(usual).succeeds();
}

/// Without cache and network the error names the id, the cache and what to do.
#[test]
fn a_model_that_cannot_be_had() {
    let project = Project::new(&[]);
    let cache = project.path("hf/hub");
    let texts = ["`someone/tiny-sd1`", cache.to_str().unwrap(), "local model"];
    Run::of(generate(&project, ID, NOWHERE)).fails(1, &texts);
    let mut offline = generate(&project, ID, NOWHERE);
    offline.env("HF_HUB_OFFLINE", "1");
    Run::of(offline).fails(1, &["HF_HUB_OFFLINE", "`someone/tiny-sd1`"]);
}

/// A folder of that name in the current folder wins over the hub.
#[test]
fn a_path_is_never_an_id() {
    let project = Project::new(&[]);
    Files::read(&fixture("tiny-sd1")).write(&project.path(ID));
    Run::of(generate(&project, ID, NOWHERE)).succeeds();
}

/// Only what is needed is downloaded, once; a broken download goes on; a later commit on the hub
/// does not mix with what is there.
#[test]
fn a_model_is_downloaded_once() {
    let project = Project::new(&[]);
    let mut files = Files::read(&fixture("tiny-sd1"));
    files.insert("README.md", b"not needed");
    files.insert("unet/diffusion_pytorch_model.fp16.safetensors", b"not needed");
    let hub = Hub::start(files);
    Run::of(generate(&project, ID, &hub.endpoint)).succeeds();
    assert!(image(&project) == expected(), "a different image than from the folder");
    let asked = hub.asked();
    assert!(!asked.iter().any(|path| path.contains("README") || path.contains("fp16")));

    Run::of(generate(&project, ID, &hub.endpoint)).succeeds();
    assert_eq!(hub.asked(), asked, "a cached model was asked for");

    let unet = project.path(CACHED).join("snapshots").join(COMMIT).join(UNET);
    let whole = fs::read(&unet).unwrap();
    fs::remove_file(&unet).unwrap();
    Run::of(generate(&project, ID, NOWHERE)).fails(1, &["not all, in the cache"]);
    fs::write(unet.with_extension("safetensors.incomplete"), &whole[..1000]).unwrap();
    Run::of(generate(&project, ID, &hub.endpoint)).succeeds();
    let again = hub.asked().split_off(asked.len());
    let [_, rest] = &again[..] else { panic!("{again:?}") };
    assert!(rest.ends_with(&format!("{UNET} bytes=1000-")), "{rest}");
    assert!(fs::read(&unet).unwrap() == whole, "put together wrongly");
}

/// A download that stops in the middle is no model, and the next run goes on.
#[test]
fn a_download_that_breaks_off() {
    let project = Project::new(&[]);
    let files = Files::read(&fixture("tiny-sd1"));
    let short = Hub::start_with(files.clone(), Manners { patience: 5000, ..Manners::default() });
    Run::of(generate(&project, ID, &short.endpoint)).fails(1, &["broke off", "is kept"]);
    let hub = Hub::start(files);
    Run::of(generate(&project, ID, &hub.endpoint)).succeeds();
    assert!(image(&project) == expected(), "a different image than from the folder");
    assert!(hub.asked().iter().any(|path| path.ends_with("bytes=5000-")), "{:?}", hub.asked());
}

/// Repositories without a usable model, and ids that do not exist.
#[test]
fn a_repository_without_a_model() {
    let project = Project::new(&[]);
    let mut files = Files::default();
    files.insert("unet/diffusion_pytorch_model.bin", b"pickle");
    let hub = Hub::start(files);
    let texts = ["not a diffusers model", "scheduler/scheduler_config.json"];
    Run::of(generate(&project, ID, &hub.endpoint)).fails(1, &texts);
    Run::of(generate(&project, "someone/else", &hub.endpoint)).fails(1, &["`someone/else`", "404"]);
}

/// A hub that says no more ends the download after a while, and Ctrl-C does at once.
#[test]
fn a_download_that_stalls() {
    let project = Project::new(&[]);
    let manners = Manners { patience: 5000, stalls: true, ..Manners::default() };
    let hub = Hub::start_with(Files::read(&fixture("tiny-sd1")), manners);
    let mut impatient = generate(&project, ID, &hub.endpoint);
    impatient.env("HF_HUB_DOWNLOAD_TIMEOUT", "1");
    Run::of(impatient).fails(1, &["broke off", "timeout", "is kept"]);

    #[cfg(unix)]
    {
        let snapshot = project.path(CACHED).join("snapshots").join(COMMIT);
        let part = snapshot.join("tokenizer/tokenizer.json.incomplete");
        fs::remove_file(&part).unwrap();
        let mut running = Running::start(generate(&project, ID, &hub.endpoint));
        running.wait_for(&part);
        let pressed = Instant::now();
        running.interrupt().fails(130, &["stopped"]);
        assert!(pressed.elapsed() < Duration::from_secs(2), "{:?}", pressed.elapsed());
    }
}

/// The token opens what is not public. It follows redirects to the same host, and to no other.
#[test]
fn the_token_is_for_the_hub_alone() {
    let project = Project::new(&[]);
    let files = Files::read(&fixture("tiny-sd1"));
    let elsewhere = Hub::start(files.clone());
    for files_at in ["/files".to_string(), format!("{}/files", elsewhere.endpoint)] {
        let _ = fs::remove_dir_all(project.path("hf"));
        let manners =
            Manners { token: Some("hf_secret"), files_at: Some(files_at), ..Manners::default() };
        let hub = Hub::start_with(files.clone(), manners);
        Run::of(generate(&project, ID, &hub.endpoint)).fails(1, &["is refused", "HF_TOKEN"]);
        let mut command = generate(&project, ID, &hub.endpoint);
        command.env("HF_TOKEN", "hf_secret");
        Run::of(command).succeeds();
        assert!(image(&project) == expected(), "a different image than from the folder");
    }
    let asked = elsewhere.asked();
    assert!(!asked.is_empty() && !asked.iter().any(|path| path.contains("hf_secret")), "{asked:?}");
}

/// A file that is not the one that the hub means is not kept.
#[test]
fn a_download_that_is_damaged() {
    let project = Project::new(&[]);
    let mut files = Files::read(&fixture("tiny-sd1"));
    let right = sha256(files.bytes(UNET));
    let manners = Manners { digest_of: Some((UNET, right.clone())), ..Manners::default() };
    let mut bytes = files.bytes(UNET).to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let found = sha256(&bytes);
    let intact = Hub::start_with(files.clone(), manners.clone());
    files.insert(UNET, &bytes);
    let damaged = Hub::start_with(files, manners);
    let texts = [UNET, "came damaged", &found, &right, "it is removed"];
    Run::of(generate(&project, ID, &damaged.endpoint)).fails(1, &texts);
    let unet = project.path(CACHED).join("snapshots").join(COMMIT).join(UNET);
    assert!(!unet.exists() && !unet.with_extension("safetensors.incomplete").exists());
    Run::of(generate(&project, ID, &intact.endpoint)).succeeds();
    assert!(image(&project) == expected(), "a different image than from the folder");
}

/// Branches have their own commits, and a variant its own files.
#[test]
fn a_revision_and_a_variant() {
    let project = Project::new(&[]);
    let mut files = Files::read(&fixture("tiny-sd1"));
    for file in [UNET, "vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"]
    {
        let bytes = files.bytes(file).to_vec();
        files.insert(&file.replace(".safetensors", ".fp16.safetensors"), &bytes);
    }
    let hub = Hub::start_with(files, Manners { revision: "refs%2Fpr%2F1", ..Manners::default() });
    let run = |endpoint: &str, options: &[&str]| {
        let mut command = generate(&project, ID, endpoint);
        command.args(options);
        Run::of(command)
    };
    run(&hub.endpoint, &[]).fails(1, &["revision/main (404)"]);
    run(&hub.endpoint, &["--revision", "../main"]).fails(2, &["`../main` is no name of a branch"]);
    let options = ["--revision", "refs/pr/1", "--variant", "fp16"];
    run(&hub.endpoint, &options).succeeds();
    assert!(image(&project) == expected(), "a different image than from the folder");
    let is_full = |path: &String| path.contains(".safetensors") && !path.contains(".fp16.");
    assert!(!hub.asked().iter().any(is_full), "{:?}", hub.asked());
    run(NOWHERE, &options).succeeds();
    run(NOWHERE, &["--revision", COMMIT, "--variant", "fp16"]).succeeds();
    run(NOWHERE, &[]).fails(1, &["not all, in the cache"]);
}

/// A reference in the cache cannot lead out of it.
#[test]
fn a_cache_that_leads_elsewhere() {
    let project = Project::new(&[]);
    Files::read(&fixture("tiny-sd1")).write(&project.path("elsewhere"));
    project.write(&format!("{CACHED}/refs/main"), "../../../../elsewhere");
    fs::create_dir_all(project.path(CACHED).join("snapshots")).unwrap();
    Run::of(generate(&project, ID, NOWHERE)).fails(1, &["not all, in the cache"]);
}

/// Behind a company's proxy the hub has another certificate, which `SSL_CERT_FILE` makes known.
#[test]
fn certificates_of_a_company() {
    let project = Project::new(&[]);
    let hub = Hub::start_with(
        Files::read(&fixture("tiny-sd1")),
        Manners { secure: true, ..Manners::default() },
    );
    Run::of(generate(&project, ID, &hub.endpoint)).fails(1, &["certificate", "SSL_CERT_FILE"]);
    let mut command = generate(&project, ID, &hub.endpoint);
    command.env("SSL_CERT_FILE", fixture("tls/authority.pem"));
    Run::of(command).succeeds();
    assert!(image(&project) == expected(), "a different image than from the folder");
}
