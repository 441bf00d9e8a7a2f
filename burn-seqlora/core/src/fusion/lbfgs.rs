//! L-BFGS on one matrix, with a line search for the strong Wolfe conditions.
//!
//! Fusions are compared with what Mix-of-Show makes of the same layers, and 50 iterations are not always
//! enough to arrive, so that the way counts as well as the end. It is that of `torch.optim.LBFGS` in PyTorch
//! 2.15 with `line_search_fn = "strong_wolfe"`, in f64: the same start, scaling, line search and ends
//! (Nocedal and Wright, Numerical Optimization, algorithms 3.5, 3.6 and 7.4).

use std::collections::VecDeque;

use nalgebra::DMatrix;

/// A pair (s, y) counts if ⟨s, y⟩ is above this.
const LEAST_CURVATURE: f64 = 1e-10;

/// c₁: the share of the slope by which a step has to descend.
const DESCENT: f64 = 1e-4;

/// c₂: the share of the slope that may be left after a step.
const CURVATURE: f64 = 0.9;

/// The line search ends when its bracket changes no element by more than this.
const LEAST_BRACKET: f64 = 1e-9;

/// The end of a minimisation, and the length of its memory. The learning rate is 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Lbfgs {
    /// Iterations at most. The value is computed at most 5/4 times as often.
    pub iterations: usize,
    /// Pairs of steps and changes of the gradient that are remembered.
    pub history: usize,
    /// It ends when no element of the gradient or of the step, nor the change of the value or the slope, is
    /// above this.
    pub tolerance: f64,
}

/// A function of a matrix.
pub(super) trait Function {
    /// The value, and the gradient of the matrix's shape.
    fn evaluate(&self, x: &DMatrix<f64>) -> (f64, DMatrix<f64>);

    /// The sum and the maximum of the absolute values of a matrix's elements, in the coordinates in which
    /// tolerances and the first step are meant.
    fn sizes(&self, x: &DMatrix<f64>) -> (f64, f64);
}

/// A point on the line x + step · d.
#[derive(Debug, Clone)]
struct Point {
    step: f64,
    value: f64,
    gradient: DMatrix<f64>,
    /// ⟨gradient, d⟩
    slope: f64,
}

/// The last steps s and changes y of the gradient.
#[derive(Debug, Default)]
struct Memory {
    pairs: VecDeque<Pair>,
    /// γ of the first approximation γ I of the inverse Hessian.
    scale: f64,
}

#[derive(Debug)]
struct Pair {
    s: DMatrix<f64>,
    y: DMatrix<f64>,
    /// 1 / ⟨s, y⟩
    rho: f64,
}

impl Lbfgs {
    /// Descends from `start`, and returns the best point of all that were evaluated.
    pub fn minimize(&self, function: &impl Function, start: DMatrix<f64>) -> DMatrix<f64> {
        let (mut value, mut gradient) = function.evaluate(&start);
        let (mut x, mut best) = (start.clone(), (value, start));
        let (largest_evaluations, mut evaluations) = (self.iterations * 5 / 4, 1);
        let mut memory = Memory { pairs: VecDeque::new(), scale: 1.0 };
        let mut direction = -&gradient;
        let (sum, largest) = function.sizes(&gradient);
        let mut first_step = (1.0 / sum).min(1.0);
        if largest <= self.tolerance {
            return best.1;
        }
        for iteration in 1..=self.iterations {
            let slope = gradient.dot(&direction);
            if slope > -self.tolerance {
                break;
            }
            let (_, longest) = function.sizes(&direction);
            let at = |step: f64| {
                let moved = &x + &direction * step;
                let (value, gradient) = function.evaluate(&moved);
                if value < best.0 {
                    best = (value, moved);
                }
                let slope = gradient.dot(&direction);
                Point { step, value, gradient, slope }
            };
            let here = Point { step: 0.0, value, gradient: gradient.clone(), slope };
            let budget = largest_evaluations - evaluations;
            let (found, count) = line_search(at, here, first_step, longest, budget);
            evaluations += count;
            let moved = &direction * found.step;
            x += &moved;
            let descent = (found.value - value).abs();
            let [(_, slope_left), (_, motion)] =
                [&found.gradient, &moved].map(|matrix| function.sizes(matrix));
            let small = slope_left.min(motion) <= self.tolerance || descent < self.tolerance;
            if iteration == self.iterations || evaluations >= largest_evaluations || small {
                break;
            }
            memory.remember(moved, &found.gradient - gradient, self.history);
            (value, gradient) = (found.value, found.gradient);
            direction = memory.direction(&gradient);
            first_step = 1.0;
        }
        best.1
    }
}

impl Memory {
    fn remember(&mut self, s: DMatrix<f64>, y: DMatrix<f64>, history: usize) {
        let curvature = y.dot(&s);
        if curvature > LEAST_CURVATURE {
            if self.pairs.len() == history {
                self.pairs.pop_front();
            }
            self.scale = curvature / y.norm_squared();
            self.pairs.push_back(Pair { s, y, rho: 1.0 / curvature });
        }
    }

    /// Minus the approximate inverse Hessian times the gradient, by the two loops.
    fn direction(&self, gradient: &DMatrix<f64>) -> DMatrix<f64> {
        let mut direction = -gradient;
        let mut shares = Vec::with_capacity(self.pairs.len());
        for Pair { s, y, rho } in self.pairs.iter().rev() {
            let share = s.dot(&direction) * rho;
            add_scaled(&mut direction, -share, y);
            shares.push(share);
        }
        direction *= self.scale;
        for (Pair { s, y, rho }, share) in self.pairs.iter().zip(shares.into_iter().rev()) {
            let back = y.dot(&direction) * rho;
            add_scaled(&mut direction, share - back, s);
        }
        direction
    }
}

/// `x ← x + factor y`
fn add_scaled(x: &mut DMatrix<f64>, factor: f64, y: &DMatrix<f64>) {
    x.zip_apply(y, |x, y| *x += factor * y);
}

/// A step for the strong Wolfe conditions, with the number of evaluations. `here` is where the line begins,
/// and `longest` the largest element of its direction.
fn line_search(
    mut at: impl FnMut(f64) -> Point,
    here: Point,
    first_step: f64,
    longest: f64,
    budget: usize,
) -> (Point, usize) {
    let (base, slope) = (here.value, here.slope);
    let too_high = |point: &Point| point.value > base + DESCENT * point.step * slope;
    let is_flat = |point: &Point| point.slope.abs() <= -CURVATURE * slope;
    // The iterations are one fewer than the evaluations.
    let mut done = 0;
    let mut previous = here.clone();
    let mut new = at(first_step);
    let mut bracket = loop {
        if done >= budget {
            break [here, new];
        }
        if too_high(&new) || (done > 1 && new.value >= previous.value) {
            break [previous, new];
        }
        if is_flat(&new) {
            return (new, done + 1);
        }
        if new.slope >= 0.0 {
            break [previous, new];
        }
        let bounds = [new.step + 0.01 * (new.step - previous.step), 10.0 * new.step];
        let step = cubic_minimum(&previous, &new, bounds);
        previous = std::mem::replace(&mut new, at(step));
        done += 1;
    };
    let lower = |bracket: &[Point; 2]| usize::from(bracket[0].value > bracket[1].value);
    let mut low = lower(&bracket);
    let mut was_close = false;
    while done < budget {
        let steps = [bracket[0].step, bracket[1].step];
        let [left, right] = [steps[0].min(steps[1]), steps[0].max(steps[1])];
        if (right - left) * longest < LEAST_BRACKET {
            break;
        }
        let mut step = cubic_minimum(&bracket[0], &bracket[1], [left, right]);
        let margin = 0.1 * (right - left);
        let is_close = (right - step).min(step - left) < margin;
        let is_outside = step >= right || step <= left;
        was_close = if is_close && (was_close || is_outside) {
            let to_right = (step - right).abs() < (step - left).abs();
            step = if to_right { right - margin } else { left + margin };
            false
        } else {
            is_close
        };
        let new = at(step);
        done += 1;
        let high = 1 - low;
        if too_high(&new) || new.value >= bracket[low].value {
            bracket[high] = new;
            low = lower(&bracket);
            continue;
        }
        let is_flat = is_flat(&new);
        if !is_flat && new.slope * (bracket[high].step - bracket[low].step) >= 0.0 {
            bracket[high] = bracket[low].clone();
        }
        bracket[low] = new;
        if is_flat {
            break;
        }
    }
    let [first, second] = bracket;
    (if low == 0 { first } else { second }, done + 1)
}

/// Where the cubic with the values and slopes of two points has its minimum, within bounds.
fn cubic_minimum(a: &Point, b: &Point, [least, greatest]: [f64; 2]) -> f64 {
    let [left, right] = if a.step <= b.step { [a, b] } else { [b, a] };
    let width = right.step - left.step;
    let mean = left.slope + right.slope - 3.0 * (right.value - left.value) / width;
    let square = mean * mean - left.slope * right.slope;
    if square < 0.0 || square.is_nan() {
        return (least + greatest) / 2.0;
    }
    let root = square.sqrt();
    let share = (right.slope + root - mean) / (right.slope - left.slope + 2.0 * root);
    (right.step - width * share).max(least).min(greatest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rosenbrock's valley in the first two elements, and a bowl in the third.
    struct Valley;

    impl Function for Valley {
        fn evaluate(&self, x: &DMatrix<f64>) -> (f64, DMatrix<f64>) {
            let (a, b, c) = (x[0], x[1], x[2]);
            let across = b - a * a;
            let value = (1.0 - a).powi(2) + 100.0 * across * across + c * c;
            let gradient = [-2.0 * (1.0 - a) - 400.0 * a * across, 200.0 * across, 2.0 * c];
            (value, DMatrix::from_row_slice(1, 3, &gradient))
        }

        fn sizes(&self, x: &DMatrix<f64>) -> (f64, f64) {
            (x.iter().map(|x| x.abs()).sum(), x.amax())
        }
    }

    fn minimize(iterations: usize) -> DMatrix<f64> {
        let start = DMatrix::from_row_slice(1, 3, &[-1.2, 1.0, 3.0]);
        Lbfgs { iterations, history: 25, tolerance: 1e-16 }.minimize(&Valley, start)
    }

    #[test]
    fn it_finds_the_end_of_rosenbrocks_valley() {
        let found = minimize(200);
        let expected = DMatrix::from_row_slice(1, 3, &[1.0, 1.0, 0.0]);
        assert!((&found - expected).amax() < 1e-7, "{found}");
    }

    /// The evaluations of a shorter run are the first ones of a longer run.
    #[test]
    fn the_best_point_never_gets_worse_with_more_iterations() {
        let values: Vec<f64> = (1..40).map(|n| Valley.evaluate(&minimize(n)).0).collect();
        assert!(values.windows(2).all(|pair| pair[1] <= pair[0]), "{values:?}");
        assert!(values[0] < 33.2, "the start has 33.2: {values:?}");
    }

    /// It needs no evaluation where there is nothing to descend.
    #[test]
    fn it_stays_at_a_minimum() {
        let start = DMatrix::from_row_slice(1, 3, &[1.0, 1.0, 0.0]);
        let settings = Lbfgs { iterations: 5, history: 2, tolerance: 1e-16 };
        assert_eq!(settings.minimize(&Valley, start.clone()), start);
    }
}
