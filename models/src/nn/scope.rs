//! The context in which a layer is built: its path in the model, its device, and the sites so far.

use std::fmt::Display;

use burn::tensor::backend::Backend;
use seqlora_core::lora::{Part, Role, Site, SiteRegistry};

use super::{Linear, LinearConfig};

/// The position of a module in the model under construction. Scopes are nested as modules are.
#[derive(Debug)]
pub struct Scope<'a, B: Backend> {
    /// The device of the weights.
    pub device: &'a B::Device,
    path: String,
    sites: Option<(Part, &'a mut SiteRegistry)>,
}

impl<'a, B: Backend> Scope<'a, B> {
    /// The root of a component; `name` is diffusers' name for it, e.g. `unet`.
    pub fn root(
        name: &str,
        part: Part,
        device: &'a B::Device,
        sites: &'a mut SiteRegistry,
    ) -> Self {
        Self { device, path: name.to_string(), sites: Some((part, sites)) }
    }

    /// The root of a model that carries no adapters.
    pub fn without_sites(device: &'a B::Device) -> Self {
        Self { device, path: String::new(), sites: None }
    }

    /// The scope of a child module.
    pub fn at(&mut self, segment: impl Display) -> Scope<'_, B> {
        Scope {
            device: self.device,
            path: format!("{}.{segment}", self.path),
            sites: self.sites.as_mut().map(|(part, sites)| (*part, &mut **sites)),
        }
    }

    /// A linear layer without weights, called `name` in this scope. It is registered as a site, unless
    /// the model carries no adapters.
    pub fn site(&mut self, name: &str, role: Role, config: LinearConfig) -> Linear<B> {
        let register = |(part, sites): &mut (Part, &mut SiteRegistry)| {
            sites.register(Site {
                name: format!("{}.{name}", self.path),
                inputs: config.inputs,
                outputs: config.outputs,
                part: *part,
                role,
            })
        };
        let site = self.sites.as_mut().map(register);
        Linear { site, ..config.init(self.device) }
    }
}
