//! The inequality of Hanson and Wright, with a constant that is fitted.
//!
//! For ζᵀMζ with independent normal ζ of variance one:
//! P(|ζᵀMζ − tr M| > t) ≤ 2 exp(−c min(t²/‖M‖_F², t/‖M‖)). At a probability δ that is
//! t = max(√(ln(2/δ)/c) ‖M‖_F, ln(2/δ)/c ‖M‖), where nobody knows the best c.

/// What the inequality asks of M = GᵀG.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Form {
    /// tr M, the mean.
    pub trace: f64,
    /// ‖M‖_F
    pub frobenius: f64,
    /// ‖M‖
    pub spectral: f64,
}

/// Iterations by which the largest eigenvalue is found.
const POWER_ITERATIONS: usize = 300;

impl Form {
    /// That of ‖G ζ‖² for G `[n, m]`, row by row.
    pub fn of(g: &[Vec<f64>]) -> Self {
        let gram: Vec<Vec<f64>> = g.iter().map(|a| g.iter().map(|b| dot(a, b)).collect()).collect();
        let trace = (0..gram.len()).map(|i| gram[i][i]).sum();
        let frobenius = gram.iter().flatten().map(|x| x * x).sum::<f64>().sqrt();
        let mut vector = vec![1.0; gram.len()];
        let mut spectral = 0.0;
        for _ in 0..POWER_ITERATIONS {
            let image: Vec<f64> = gram.iter().map(|row| dot(row, &vector)).collect();
            spectral = dot(&image, &image).sqrt();
            if spectral == 0.0 {
                break;
            }
            vector = image.into_iter().map(|x| x / spectral).collect();
        }
        Self { trace, frobenius, spectral }
    }

    /// t at probability `delta` with the constant c.
    pub fn deviation(&self, delta: f64, c: f64) -> f64 {
        let log = (2.0 / delta).ln() / c;
        (log.sqrt() * self.frobenius).max(log * self.spectral)
    }

    /// The largest c for which t is at least this deviation.
    fn constant(&self, delta: f64, deviation: f64) -> f64 {
        let log = (2.0 / delta).ln();
        let [square, linear] =
            [log * (self.frobenius / deviation).powi(2), log * self.spectral / deviation];
        square.max(linear)
    }
}

/// A concept's form, and values of it.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The form.
    pub form: Form,
    /// ζᵀMζ of independent ζ.
    pub values: Vec<f64>,
}

impl Observed {
    fn deviations(&self) -> Vec<f64> {
        self.values.iter().map(|value| (value - self.form.trace).abs()).collect()
    }

    /// The share of values that are further from the mean than t allows.
    pub fn violations(&self, delta: f64, c: f64) -> f64 {
        let limit = self.form.deviation(delta, c);
        let beyond = self.deviations().into_iter().filter(|deviation| *deviation > limit).count();
        beyond as f64 / self.values.len() as f64
    }
}

/// The largest c for which no more than a share `delta` of each concept's values is beyond t.
pub fn fit(concepts: &[&Observed], delta: f64) -> f64 {
    let constant = |concept: &&Observed| {
        let mut deviations = concept.deviations();
        deviations.sort_by(f64::total_cmp);
        let at = ((1.0 - delta) * deviations.len() as f64).ceil() as usize;
        concept.form.constant(delta, deviations[at.clamp(1, deviations.len()) - 1])
    };
    concepts.iter().map(constant).fold(f64::INFINITY, f64::min)
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_are_those_of_the_matrix() {
        // M = diag(9, 4)
        let form = Form::of(&[vec![3.0, 0.0, 0.0], vec![0.0, 2.0, 0.0]]);
        assert!((form.trace - 13.0).abs() < 1e-12 && (form.spectral - 9.0).abs() < 1e-9);
        assert!((form.frobenius - 97f64.sqrt()).abs() < 1e-12);
        assert_eq!(Form::of(&[vec![0.0; 3]]).spectral, 0.0);
    }

    /// The constant makes t the deviation itself, in both of its branches.
    #[test]
    fn a_fitted_constant_is_tight() {
        let form = Form { trace: 1.0, frobenius: 2.0, spectral: 1.0 };
        for deviation in [0.1, 1.0, 10.0] {
            let c = form.constant(0.1, deviation);
            assert!((form.deviation(0.1, c) - deviation).abs() < 1e-12 * deviation);
        }
        let values = (0..100).map(|i| 1.0 + f64::from(i)).collect();
        let observed = Observed { form, values };
        let c = fit(&[&observed], 0.1);
        assert!((observed.violations(0.1, c) - 0.1).abs() < 1e-12);
        assert!(observed.violations(0.1, 4.0 * c) > 0.1 && observed.violations(0.1, c / 9.0) < 0.1);
    }
}
