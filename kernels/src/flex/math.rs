//! Elementary functions without branches, tables or calls, which compilers can vectorise.

/// eˣ to 2 ulp; 0 below −87.3, and e^88.7 above 88.7.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding 1.5 · 2²³ rounds to the nearest integer n and leaves n in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.33, 88.72);
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, clamped));
    // Taylor's series to r⁷ on |r| ≤ ln(2)/2.
    let mut p = 1.0 / 5040.0;
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = r.mul_add(p, c);
    }
    // 2ⁿ is computed as two factors, since 2¹²⁸ is not an f32. n is read from the bits of
    // `shifted`, which is faster than a cast from float to integer.
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let power = |n: i32| f32::from_bits(((n + 127) as u32) << 23);
    let y = p * power(n >> 1) * power(n - (n >> 1));
    if x < -87.33 { 0.0 } else { y }
}

/// 1/(1 + e⁻ˣ)
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The standard normal distribution at a point.
#[derive(Debug, Clone, Copy)]
pub struct Normal {
    /// Φ(x) = (1 + erf(x/√2))/2
    pub cdf: f32,
    /// φ(x) = e^(−x²/2)/√(2π)
    pub pdf: f32,
}

/// Φ and φ at x, both to 1.5e-7. Φ is by the polynomials for erf of the Cephes library: one for
/// |x| ≤ √2, and two beyond, which multiply the e^(−x²/2) that φ needs as well.
#[inline(always)]
pub fn normal(x: f32) -> Normal {
    const INSIDE: [f32; 7] = [
        7.853_861e-5,
        -8.010_194e-4,
        5.188_327e-3,
        -2.685_381_2e-2,
        1.128_358_5e-1,
        -3.761_262_6e-1,
        std::f32::consts::FRAC_2_SQRT_PI,
    ];
    const TO_TWO: [f32; 9] = [
        2.326_82e-2,
        -1.387_039_4e-1,
        3.687_424_7e-1,
        -5.824_733e-1,
        6.210_005e-1,
        -4.944_515_3e-1,
        3.404_88e-1,
        -2.741_127e-1,
        5.638_259_4e-1,
    ];
    const BEYOND: [f32; 8] = [
        -1.047_766_4e1,
        1.297_72e1,
        -7.495_518_7,
        2.921_019,
        -1.015_265_3,
        4.218_463_5e-1,
        -2.820_767_4e-1,
        5.641_895e-1,
    ];
    let bell = exp(-0.5 * x * x);
    let x = x * std::f32::consts::FRAC_1_SQRT_2;
    let inside = x * polynomial(&INSIDE, x * x);
    let size = x.abs().max(1.0);
    let inverse = 1.0 / size;
    let inverse_square = inverse * inverse;
    let tail = if size < 2.0 {
        polynomial(&TO_TWO, inverse_square)
    } else {
        polynomial(&BEYOND, inverse_square)
    };
    let outside = (1.0 - bell * inverse * tail).copysign(x);
    let erf = if x.abs() < 1.0 { inside } else { outside };
    Normal { cdf: 0.5 + 0.5 * erf, pdf: 0.398_942_3 * bell }
}

#[inline(always)]
fn polynomial<const N: usize>(coefficients: &[f32; N], x: f32) -> f32 {
    let mut y = coefficients[0];
    for c in &coefficients[1..] {
        y = y.mul_add(x, *c);
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every 1e-3 from −100 to 100.
    fn arguments() -> impl Iterator<Item = f32> {
        (-100_000..=100_000).map(|i| i as f32 * 1e-3)
    }

    #[test]
    fn exp_is_exact_to_2e_7() {
        for x in arguments().filter(|x| (-87.3..88.7).contains(x)) {
            let expected = (x as f64).exp();
            let error = ((exp(x) as f64 - expected) / expected).abs();
            assert!(error < 2.5e-7, "exp({x}): {error}");
        }
        assert_eq!(exp(-1e4), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn the_normal_distribution_is_exact_to_1_5e_7() {
        for x in arguments() {
            let z = x as f64;
            let cdf = 0.5 + 0.5 * libm::erf(z * std::f64::consts::FRAC_1_SQRT_2);
            let pdf = (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt();
            let found = normal(x);
            assert!((found.cdf as f64 - cdf).abs() < 1.5e-7, "Φ({x}): {}", found.cdf);
            assert!((found.pdf as f64 - pdf).abs() < 1.5e-7, "φ({x}): {}", found.pdf);
        }
    }
}
