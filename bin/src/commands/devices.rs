//! `seqlora devices`

use serde_json::json;

use crate::failure::Failure;
use crate::terminal::{Terminal, table};

/// Lists what is compiled in.
pub fn run(terminal: &Terminal) -> Result<(), Failure> {
    let backends = [
        ("cpu", cfg!(feature = "cpu"), "Burn's Flex, all cores"),
        ("wgpu", cfg!(feature = "wgpu"), "any GPU through Vulkan, Metal or DirectX"),
        ("cuda", cfg!(feature = "cuda"), "NVIDIA GPUs"),
    ];
    let list =
        backends.map(|(name, built, what)| json!({"device": name, "built": built, "what": what}));
    terminal.result(&json!({ "devices": list }), || {
        let head = ["device", "built in", "what"].map(String::from).to_vec();
        let row = |(name, built, what): (&str, bool, &str)| {
            let built = if built { "yes".into() } else { format!("no: --features {name}") };
            vec![name.to_string(), built, what.to_string()]
        };
        table(&[vec![head], backends.map(row).to_vec()].concat())
    })
}
