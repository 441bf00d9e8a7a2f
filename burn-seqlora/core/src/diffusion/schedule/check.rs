//! The numbers of a scheduler's config, checked before anything is made of them.

use super::config::{SchedulerConfig, invalid};
use super::error::ScheduleError;

/// The longest table that is made. Stable Diffusion's has 1000 entries.
const LONGEST: usize = 100_000;

/// Refuses numbers that are not those of a noise schedule, also where they are not used.
pub(super) fn check(config: &SchedulerConfig) -> Result<(), ScheduleError> {
    let count = config.num_train_timesteps();
    if !(1..=LONGEST).contains(&count) {
        return Err(invalid("num_train_timesteps", count, format!("1 to {LONGEST}")));
    }
    if let Some(offset) = config.steps_offset.filter(|offset| *offset >= count) {
        let expected = format!("less than num_train_timesteps = {count}");
        return Err(invalid("steps_offset", offset, expected));
    }
    let trained = config.trained_betas.iter().flatten().map(|beta| ("trained_betas", beta));
    let ends = [("beta_start", &config.beta_start), ("beta_end", &config.beta_end)];
    let ends = ends.into_iter().filter_map(|(key, beta)| Some((key, beta.as_ref()?)));
    for (key, beta) in ends.chain(trained) {
        if !(*beta > 0.0 && *beta < 1.0) {
            return Err(invalid(key, beta, "between 0 and 1"));
        }
    }
    for (key, sigma) in [("sigma_min", config.sigma_min), ("sigma_max", config.sigma_max)] {
        if let Some(sigma) = sigma.filter(|sigma| !(*sigma > 0.0 && *sigma < 1e6)) {
            return Err(invalid(key, sigma, "more than 0, below 1000000"));
        }
    }
    Ok(())
}
