//! Where in the model a layer is being built: its path, its device, and the registry of sites.

use std::fmt::Display;

use burn::tensor::backend::Backend;
use seqlora_core::lora::{Part, Role, Site, SiteRegistry};

use super::{Linear, LinearConfig};

/// A place in the model under construction. Nesting of scopes is nesting of modules.
#[derive(Debug)]
pub struct Scope<'a, B: Backend> {
    /// Where the weights go.
    pub device: &'a B::Device,
    path: String,
    sites: Option<(Part, &'a mut SiteRegistry)>,
}

impl<'a, B: Backend> Scope<'a, B> {
    /// The root of a model; `name` is diffusers' name of the component, e.g. `unet`.
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

    /// A linear layer that can carry an adapter, called `name` in this scope, if the model's can.
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
