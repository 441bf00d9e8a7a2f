//! β tables and their running product, with torch's float32 roundings.

use super::config::{BetaSchedule, SchedulerConfig, invalid};
use super::error::ScheduleError;

/// ᾱ_t = Π (1 − β_s), in float32 as diffusers stores it, of a config whose numbers are checked.
pub(super) fn alphas_cumprod(config: &SchedulerConfig) -> Result<Vec<f32>, ScheduleError> {
    let betas = betas(config)?;
    if !config.rescale_betas_zero_snr() {
        return Ok(running_product(&betas));
    }
    if betas.len() < 2 {
        return Err(invalid("num_train_timesteps", betas.len(), "at least 2 to rescale betas"));
    }
    Ok(running_product(&rescale_zero_terminal_snr(&betas)))
}

fn betas(config: &SchedulerConfig) -> Result<Vec<f32>, ScheduleError> {
    let count = config.num_train_timesteps();
    let (start, end) = (config.beta_start.unwrap_or(1e-4), config.beta_end.unwrap_or(0.02));
    if let Some(trained) = &config.trained_betas {
        if trained.len() != count {
            let found = format!("{} numbers", trained.len());
            return Err(invalid("trained_betas", found, format!("num_train_timesteps = {count}")));
        }
        return Ok(trained.iter().map(|&beta| beta as f32).collect());
    }
    Ok(match config.beta_schedule()? {
        BetaSchedule::Linear => linspace(start as f32, end as f32, count),
        BetaSchedule::ScaledLinear => linspace(start.sqrt() as f32, end.sqrt() as f32, count)
            .into_iter()
            .map(|root| root * root)
            .collect(),
        BetaSchedule::SquaredCosine => squared_cosine(count),
    })
}

/// `torch.linspace` in float32: counted from the nearer end, one rounding per element.
fn linspace(start: f32, end: f32, count: usize) -> Vec<f32> {
    if count == 1 {
        return vec![start];
    }
    let step = (end - start) / (count - 1) as f32;
    let from_start = (0..count / 2).map(|i| step.mul_add(i as f32, start));
    let from_end = (count / 2..count).map(|i| (-step).mul_add((count - 1 - i) as f32, end));
    from_start.chain(from_end).collect()
}

/// β_i = min(1 − f((i+1)/T) / f(i/T), 0.999), f(u) = cos²((u + 0.008)/1.008 · π/2).
///
/// Nichol & Dhariwal 2021 (arXiv 2102.09672) eq. 17; diffusers `betas_for_alpha_bar`.
fn squared_cosine(count: usize) -> Vec<f32> {
    let alpha_bar = |i: usize| {
        let u = i as f64 / count as f64;
        ((u + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2)
    };
    (0..count).map(|i| (1.0 - alpha_bar(i + 1) / alpha_bar(i)).min(0.999) as f32).collect()
}

/// Shifts and scales √ᾱ so that it ends at exactly 0 and starts where it did.
///
/// Lin et al. 2023 (arXiv 2305.08891) algorithm 1; diffusers `rescale_zero_terminal_snr`.
fn rescale_zero_terminal_snr(betas: &[f32]) -> Vec<f32> {
    let roots: Vec<f32> = running_product(betas).into_iter().map(f32::sqrt).collect();
    let (first, last) = (roots[0], roots[roots.len() - 1]);
    let scale = first / (first - last);
    let bars: Vec<f32> = roots.iter().map(|root| ((root - last) * scale).powi(2)).collect();
    let tail = bars.windows(2).map(|pair| 1.0 - pair[1] / pair[0]);
    std::iter::once(1.0 - bars[0]).chain(tail).collect()
}

/// `torch.cumprod` on the CPU: float32 factors, accumulated in float64, each result rounded.
fn running_product(betas: &[f32]) -> Vec<f32> {
    betas
        .iter()
        .scan(1.0_f64, |product, beta| {
            *product *= f64::from(1.0 - beta);
            Some(*product as f32)
        })
        .collect()
}
