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

    /// The sum of the absolute values of a matrix's elements, in the coordinates in which the first step is meant.
    fn sum(&self, x: &DMatrix<f64>) -> f64;

    /// Whether the absolute value of some element is above a bound, in the coordinates in which tolerances are
    /// meant.
    fn exceeds(&self, x: &DMatrix<f64>, bound: f64) -> bool;
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

/// The last steps s and changes y of the gradient, from the oldest on.
///
/// The two loops compute with inner products alone, so that a direction takes two passes over all matrices, which are
/// far larger than a cache, instead of four over each.
#[derive(Debug)]
struct Memory {
    s: VecDeque<DMatrix<f64>>,
    y: VecDeque<DMatrix<f64>>,
    /// ⟨s_i, y_j⟩ and ⟨y_i, y_j⟩
    sy: VecDeque<VecDeque<f64>>,
    yy: VecDeque<VecDeque<f64>>,
    /// γ of the first approximation γ I of the inverse Hessian.
    scale: f64,
}

impl Lbfgs {
    /// Descends from `start`, and returns the best point of all that were evaluated.
    pub fn minimize(&self, function: &impl Function, start: DMatrix<f64>) -> DMatrix<f64> {
        let (mut value, mut gradient) = function.evaluate(&start);
        let (mut x, mut best) = (start.clone(), (value, start));
        let (largest_evaluations, mut evaluations) = (self.iterations * 5 / 4, 1);
        let mut memory = Memory::new();
        let mut direction = -&gradient;
        if !function.exceeds(&gradient, self.tolerance) {
            return best.1;
        }
        let mut first_step = (1.0 / function.sum(&gradient)).min(1.0);
        for iteration in 1..=self.iterations {
            let slope = gradient.dot(&direction);
            if slope > -self.tolerance {
                break;
            }
            let is_short = |width| !function.exceeds(&direction, LEAST_BRACKET / width);
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
            let (found, count) = line_search(at, here, first_step, is_short, budget);
            evaluations += count;
            let moved = &direction * found.step;
            x += &moved;
            let descent = (found.value - value).abs();
            let goes_on = |matrix| function.exceeds(matrix, self.tolerance);
            let small = descent < self.tolerance || !(goes_on(&found.gradient) && goes_on(&moved));
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
    fn new() -> Self {
        let (s, y, sy, yy) = Default::default();
        Self { s, y, sy, yy, scale: 1.0 }
    }

    fn remember(&mut self, s: DMatrix<f64>, y: DMatrix<f64>, history: usize) {
        let curvature = y.dot(&s);
        if curvature <= LEAST_CURVATURE {
            return;
        }
        if self.s.len() == history {
            self.forget();
        }
        let all: Vec<&DMatrix<f64>> = self.s.iter().chain(&self.y).collect();
        let [with_s, with_y] = products(&all, [&s, &y]);
        let (count, square) = (self.s.len(), y.norm_squared());
        // ⟨s_i, y⟩, ⟨y_i, y⟩ and ⟨s, y_j⟩
        self.sy.iter_mut().zip(&with_y).for_each(|(row, product)| row.push_back(*product));
        self.yy.iter_mut().zip(&with_y[count..]).for_each(|(row, product)| row.push_back(*product));
        self.sy.push_back(with_s[count..].iter().copied().chain([curvature]).collect());
        self.yy.push_back(with_y[count..].iter().copied().chain([square]).collect());
        self.scale = curvature / square;
        self.s.push_back(s);
        self.y.push_back(y);
    }

    /// Drops the oldest pair.
    fn forget(&mut self) {
        self.s.pop_front();
        self.y.pop_front();
        for table in [&mut self.sy, &mut self.yy] {
            table.pop_front();
            for row in table.iter_mut() {
                row.pop_front();
            }
        }
    }

    /// Minus the approximate inverse Hessian times the gradient g, by the two loops:
    /// γ (−g − Σ share_j y_j) + Σ (share_j − back_j) s_j.
    fn direction(&self, gradient: &DMatrix<f64>) -> DMatrix<f64> {
        let count = self.s.len();
        let all: Vec<&DMatrix<f64>> = self.s.iter().chain(&self.y).collect();
        let [with_g] = products(&all, [gradient]);
        let (sg, yg) = with_g.split_at(count);
        let (mut shares, mut steps) = (vec![0.0; count], vec![0.0; count]);
        for i in (0..count).rev() {
            let newer: f64 = (i + 1..count).map(|j| shares[j] * self.sy[i][j]).sum();
            shares[i] = (-sg[i] - newer) / self.sy[i][i];
        }
        for i in 0..count {
            let along_y: f64 = (0..count).map(|j| shares[j] * self.yy[i][j]).sum();
            let older: f64 = (0..i).map(|j| steps[j] * self.sy[j][i]).sum();
            let back = (self.scale * (-yg[i] - along_y) + older) / self.sy[i][i];
            steps[i] = shares[i] - back;
        }
        let of_y = shares.iter().map(|share| -self.scale * share);
        let factors: Vec<f64> = steps.iter().copied().chain(of_y).collect();
        combination(gradient, -self.scale, &all, &factors)
    }
}

/// Numbers of a matrix that are read at once: with those of others they stay in a core's cache.
const CHUNK: usize = 1024;

/// The inner products of some matrices with each of all.
fn products<const N: usize>(all: &[&DMatrix<f64>], some: [&DMatrix<f64>; N]) -> [Vec<f64>; N] {
    let mut sums = [(); N].map(|()| vec![0.0; all.len()]);
    for start in (0..some[0].len()).step_by(CHUNK) {
        let part = |matrix: &DMatrix<f64>| start..matrix.len().min(start + CHUNK);
        for (number, matrix) in all.iter().enumerate() {
            let theirs = &matrix.as_slice()[part(matrix)];
            for (sums, one) in sums.iter_mut().zip(some) {
                sums[number] += dot(theirs, &one.as_slice()[part(one)]);
            }
        }
    }
    sums
}

/// ⟨a, b⟩ in eight sums, which a compiler makes vectors of.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (mut sums, (a, b)) = ([0.0; 8], (a.chunks_exact(8), b.chunks_exact(8)));
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// `scale x + Σ factors_j all_j`
fn combination(
    x: &DMatrix<f64>,
    scale: f64,
    all: &[&DMatrix<f64>],
    factors: &[f64],
) -> DMatrix<f64> {
    let mut sum = x * scale;
    for (number, sum) in sum.as_mut_slice().chunks_mut(CHUNK).enumerate() {
        let start = number * CHUNK;
        for (matrix, factor) in all.iter().zip(factors) {
            let values = &matrix.as_slice()[start..start + sum.len()];
            sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * value);
        }
    }
    sum
}

/// A step for the strong Wolfe conditions, with the number of evaluations. `here` is where the line begins,
/// and `is_short` tells whether a part of it of this width matters no more.
fn line_search(
    mut at: impl FnMut(f64) -> Point,
    here: Point,
    first_step: f64,
    is_short: impl Fn(f64) -> bool,
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
        if is_short(right - left) {
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

        fn sum(&self, x: &DMatrix<f64>) -> f64 {
            x.iter().map(|x| x.abs()).sum()
        }

        fn exceeds(&self, x: &DMatrix<f64>, bound: f64) -> bool {
            x.amax() > bound
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
