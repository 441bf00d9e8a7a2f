//! Runs kernels on this CPU, in two orders.

mod launch;
mod program;
mod units;

use std::collections::HashMap;

pub(crate) use self::launch::Launch;
use self::program::Program;
use self::units::{Order, Units};
use crate::memory::Range;

/// Compiled kernels, and the stacks of the units that run them.
#[derive(Debug)]
pub(crate) struct Emulator {
    without_barrier: bool,
    programs: HashMap<usize, Result<Program, String>>,
    units: Units,
}

impl Emulator {
    /// With or without the first barrier of each kernel.
    pub(crate) fn new(without_barrier: bool) -> Self {
        Self { without_barrier, programs: HashMap::new(), units: Units::default() }
    }

    /// Runs the kernel with that number with its units in both orders.
    ///
    /// # Errors
    /// If it cannot be compiled, waits for units that do not come, or computes something else in the other
    /// order.
    pub(crate) fn run(&mut self, number: usize, launch: &Launch) -> Result<(), String> {
        let build = || Program::build(launch.kernel, self.without_barrier);
        let program = self.programs.entry(number).or_insert_with(build).as_ref()?;
        let before = contents(&launch.buffers);
        self.units.run(program, launch, Order::Backwards)?;
        let backwards = contents(&launch.buffers);
        for (buffer, before) in launch.buffers.iter().zip(&before) {
            buffer.bytes().copy_from_slice(before);
        }
        self.units.run(program, launch, Order::Forwards)?;
        // Sums of several units by atomic additions are rounded in the order in which these come.
        let in_any_order = launch.kernel.source.contains("atomicAdd(");
        match in_any_order || contents(&launch.buffers) == backwards {
            true => Ok(()),
            false => Err("its result depends on the order of its units".into()),
        }
    }
}

fn contents(buffers: &[Range]) -> Vec<Vec<u8>> {
    buffers.iter().map(|buffer| buffer.bytes().to_vec()).collect()
}
