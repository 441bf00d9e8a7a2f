//! What `seqlora audit` prints.

use burn_seqlora::audit::{
    Disturbance, Energies, LayerGroup, PairWeights, SiteEnergies, SiteWeights, disturbances,
    shares_on_common,
};
use burn_seqlora::lora::Site;
use serde_json::{Value, json};

use super::advice::advice;
use crate::args::Audit;
use crate::failure::Failure;
use crate::terminal::{Terminal, table};

/// All that was found.
pub struct Report<'a> {
    pub ids: Vec<String>,
    pub sites: &'a [Site],
    pub weights: Vec<PairWeights>,
    pub activations: Option<Energies>,
    pub args: &'a Audit,
}

impl Report<'_> {
    /// Prints it.
    pub fn show(&self, terminal: &Terminal) -> Result<(), Failure> {
        let pairs = self.activations.as_ref().map(disturbances);
        let common = self.activations.as_ref().map(shares_on_common);
        let advice = advice(&self.ids, &self.weights, pairs.as_deref().zip(common.as_deref()));
        let activations = self.activations.as_ref().map(|energies| {
            json!({
                "steps": self.args.steps,
                "disturbances": self.lines(pairs.as_deref().unwrap_or_default()),
                "on_common_prompts": self.lines(common.as_deref().unwrap_or_default()),
                "layers": energies.sites.iter().map(layer).collect::<Vec<_>>(),
            })
        });
        let value = json!({
            "version": 1,
            "adapters": self.ids,
            "weights": self.weights.iter().map(|pair| self.weight_line(pair)).collect::<Vec<_>>(),
            "activations": activations,
            "advice": advice,
        });
        terminal.result(&value, || {
            let mut text = self.weight_table();
            if let Some((pairs, common)) = pairs.as_deref().zip(common.as_deref()) {
                text += &format!("\n\n{}", self.activation_table(pairs, common));
            }
            match advice.is_empty() {
                true => text + "\n\nnothing interferes by much",
                false => advice.iter().fold(text, |text, advice| format!("{text}\n\n{advice}")),
            }
        })
    }

    fn name(&self, number: usize) -> &str {
        &self.ids[number]
    }

    fn weight_line(&self, pair: &PairWeights) -> Value {
        let site = |site: &SiteWeights| {
            let degrees: Vec<f64> = site.overlap.angles.iter().map(|x| x.to_degrees()).collect();
            json!({
                "site": self.sites[site.site].name,
                "energy": site.overlap.energy,
                "relative_to_random": site.overlap.relative_to_random,
                "angles_degrees": degrees,
                "cosine": site.cosine(),
            })
        };
        json!({
            "adapters": pair.pair.map(|number| self.name(number)),
            "mean_relative_to_random": pair.mean_relative(),
            "smallest_angle_degrees": pair.smallest_angle().to_degrees(),
            "cosine": pair.cosine(),
            "sites": pair.sites.iter().map(site).collect::<Vec<_>>(),
        })
    }

    /// The pairs with the largest overlap in weight space.
    fn weight_table(&self) -> String {
        let head = ["weights", "overlap / random", "smallest angle", "cos ΔW", "most at"];
        let mut pairs: Vec<&PairWeights> = self.weights.iter().collect();
        pairs.sort_by(|a, b| b.mean_relative().total_cmp(&a.mean_relative()));
        let row = |pair: &&PairWeights| {
            let worst = pair.worst().expect("a pair has a site");
            let [a, b] = pair.pair.map(|number| self.name(number));
            vec![
                format!("{a}, {b}"),
                format!("{:.2}", pair.mean_relative()),
                format!("{:.1}°", pair.smallest_angle().to_degrees()),
                format!("{:+.3}", pair.cosine()),
                self.sites[worst.site].name.clone(),
            ]
        };
        self.cut(&head, pairs.iter().map(row).collect())
    }

    fn lines(&self, found: &[Disturbance]) -> Vec<Value> {
        let line = |found: &Disturbance| {
            let [text_encoder, keys_and_values, other_layers] = found.groups;
            json!({
                "by": self.name(found.by),
                "on": found.on.map(|number| self.name(number)),
                "text_encoder": text_encoder,
                "keys_and_values": keys_and_values,
                "other_layers": other_layers,
                "worst": { "ratio": found.worst.0, "site": found.worst.1 },
            })
        };
        found.iter().map(line).collect()
    }

    /// The pairs that disturb each other most, and what answers to common prompts.
    fn activation_table(&self, pairs: &[Disturbance], common: &[Disturbance]) -> String {
        let groups = LayerGroup::ALL.map(LayerGroup::name);
        let row = |found: &Disturbance| {
            let by = self.name(found.by);
            let name = match found.on {
                Some(on) => format!("{by} on {}", self.name(on)),
                None => by.into(),
            };
            let mean = |share: &Option<f64>| share.map_or("-".into(), |x| format!("{x:.2}"));
            let worst = format!("{:.2} at {}", found.worst.0, found.worst.1);
            let means = found.groups.iter().map(mean);
            std::iter::once(name).chain(means).chain([worst]).collect::<Vec<_>>()
        };
        let head = |what| [what, groups[0], groups[1], groups[2], "most"];
        let tables = [(head("disturbs"), pairs), (head("on common prompts"), common)]
            .map(|(head, found)| self.cut(&head, found.iter().map(row).collect()));
        let about = "how much an adapter changes a layer's outputs, on another concept's inputs relative to \
                     that concept's own adapter,\nand on common prompts relative to itself on its own";
        format!("{}\n\n{}\n\n{about}", tables[0], tables[1])
    }

    /// A table of the first rows, and how many more there are.
    fn cut(&self, head: &[&str; 5], rows: Vec<Vec<String>>) -> String {
        let (count, shown) = (rows.len(), self.args.pairs);
        let head = head.map(String::from).to_vec();
        let rows: Vec<_> = std::iter::once(head).chain(rows.into_iter().take(shown)).collect();
        match count > shown {
            true => format!("{}\nand {} more", table(&rows), count - shown),
            false => table(&rows),
        }
    }
}

/// The energies themselves, `on[i][j]` for adapter i on the inputs of j.
fn layer(energies: &SiteEnergies) -> Value {
    json!({
        "site": energies.site.name,
        "group": LayerGroup::of(&energies.site).name(),
        "on": energies.on,
        "on_common": energies.on_common,
    })
}
