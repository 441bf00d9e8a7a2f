//! The units of a cube as coroutines, which take turns at barriers.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::launch::Launch;
use super::program::{CUBE, PLANE, Program};

/// The order of units, and of cubes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Forwards,
    Backwards,
}

/// Stacks that are used again.
#[derive(Default)]
pub(super) struct Units {
    stacks: Vec<DefaultStack>,
}

impl std::fmt::Debug for Units {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Units").field("stacks", &self.stacks.len()).finish()
    }
}

/// Bytes of a unit's stack; kernels keep little there.
const STACK: usize = 128 << 10;

/// The units of a warp.
const PLANE_UNITS: usize = 32;

thread_local! {
    /// By which the unit that runs gives its turn away.
    static YIELDER: Cell<*const Yielder<(), u32>> = const { Cell::new(ptr::null()) };
}

/// Called by a unit at a barrier.
extern "C" fn wait(barrier: u32) {
    let yielder = YIELDER.get();
    // SAFETY: the scheduler resumes a unit after it set its yielder, which lives as long as the unit.
    unsafe { (*yielder).suspend(barrier) };
    YIELDER.set(yielder);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Ready,
    Waits(u32),
    Done,
}

type Unit = Coroutine<(), u32, (), DefaultStack>;

impl Units {
    /// Runs a launch, one cube after the other.
    pub(super) fn run(
        &mut self,
        program: &Program,
        launch: &Launch,
        order: Order,
    ) -> Result<(), String> {
        let arguments = Arguments::new(launch);
        let cubes = launch.cubes.map(|count| count as usize);
        let count: usize = cubes.iter().product();
        // SAFETY: nothing else uses the state during the call, and no reference to it is kept.
        unsafe {
            (*program.state).wait = Some(wait);
            (*program.state).units = launch.kernel.cube;
            (*program.state).cubes = launch.cubes;
        }
        for number in 0..count {
            let number = if order == Order::Forwards { number } else { count - 1 - number };
            // SAFETY: as above.
            unsafe { (*program.state).cube = position(number, cubes) };
            (program.begin_cube)();
            self.run_cube(program, launch.kernel.cube, &arguments, order)?;
        }
        Ok(())
    }

    fn run_cube(
        &mut self,
        program: &Program,
        sizes: [u32; 3],
        arguments: &Arguments,
        order: Order,
    ) -> Result<(), String> {
        let sizes = sizes.map(|size| size as usize);
        let count = sizes.iter().product();
        let mut units: Vec<Unit> = (0..count).map(|_| self.unit(program, arguments)).collect();
        let mut turns = vec![Turn::Ready; count];
        let result = loop {
            for number in 0..count {
                let number = if order == Order::Forwards { number } else { count - 1 - number };
                if turns[number] != Turn::Ready {
                    continue;
                }
                // SAFETY: the kernel reads it only while it is this unit's turn.
                unsafe { (*program.state).unit = position(number, sizes) };
                turns[number] = match units[number].resume(()) {
                    CoroutineResult::Yield(barrier) => Turn::Waits(barrier),
                    CoroutineResult::Return(()) => Turn::Done,
                };
            }
            if turns.iter().all(|turn| *turn == Turn::Done) {
                break Ok(());
            }
            if !pass_barriers(&mut turns) {
                break Err("units wait at a barrier that others do not reach".into());
            }
        };
        for mut unit in units {
            if !unit.done() {
                // SAFETY: a kernel's frames own nothing.
                unsafe { unit.force_reset() };
            }
            self.stacks.push(unit.into_stack());
        }
        result
    }

    fn unit(&mut self, program: &Program, arguments: &Arguments) -> Unit {
        let new = || DefaultStack::new(STACK).expect("there is address space for stacks");
        let stack = self.stacks.pop().unwrap_or_else(new);
        let (call, pointers) = (program.call, arguments.pointers.as_ptr());
        Coroutine::with_stack(stack, move |yielder, ()| {
            YIELDER.set(yielder);
            call(pointers);
        })
    }
}

/// Lets those go on who wait at a barrier that everybody has reached who has not left. Whether there were any.
fn pass_barriers(turns: &mut [Turn]) -> bool {
    let pass = |turns: &mut [Turn], barrier| {
        let waits = turns.contains(&Turn::Waits(barrier));
        let all = turns.iter().all(|turn| [Turn::Done, Turn::Waits(barrier)].contains(turn));
        if waits && all {
            for turn in turns.iter_mut().filter(|turn| **turn != Turn::Done) {
                *turn = Turn::Ready;
            }
        }
        waits && all
    };
    let planes = turns.chunks_mut(PLANE_UNITS).filter(|plane| plane.contains(&Turn::Waits(PLANE)));
    let passed = planes.map(|plane| pass(plane, PLANE)).fold(false, |any, one| any | one);
    passed || pass(turns, CUBE)
}

/// The coordinates of a number, the first of which runs fastest.
fn position(number: usize, sizes: [usize; 3]) -> [u32; 3] {
    let [x, y, _] = sizes;
    [number % x, number / x % y, number / x / y].map(|n| n as u32)
}

/// A kernel's arguments, as `cubecl-cuda` passes them: a pointer for each tensor, one for shapes and strides
/// if there are any, and the sizes by value.
struct Arguments {
    pointers: Vec<*mut c_void>,
    _tensors: Vec<usize>,
    _sizes: Vec<u64>,
}

/// Words of the largest struct of sizes; a kernel copies its own.
const SIZES: usize = 64;

impl Arguments {
    fn new(launch: &Launch) -> Self {
        let mut tensors: Vec<usize> = launch.buffers.iter().map(|buffer| buffer.address).collect();
        if launch.dynamic < launch.sizes.len() {
            tensors.push(launch.sizes[launch.dynamic..].as_ptr() as usize);
        }
        let mut sizes = launch.sizes.to_vec();
        sizes.resize(sizes.len() + SIZES, 0);
        let mut pointers: Vec<*mut c_void> =
            tensors.iter_mut().map(|tensor| ptr::from_mut(tensor).cast()).collect();
        pointers.push(sizes.as_mut_ptr().cast());
        Self { pointers, _tensors: tensors, _sizes: sizes }
    }
}
