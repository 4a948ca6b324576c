//! Kernels of our own, and their launches.

use std::ffi::{CStr, c_uint, c_void};
use std::ptr;
use std::sync::Arc;

use super::context::{Context, check};
use super::load::{At, Cast, Gather, Rows, Work};
use super::stream::Stream;
use super::{faults, leaks, sys};
use crate::error::{Error, Result};

/// What the driver compiles, with the zero behind it that it looks for.
const PTX: &str = concat!(include_str!("kernels.ptx"), "\0");

/// Threads of a block.
const BLOCK_THREADS: u32 = 256;

/// The most blocks of a grid in either direction; what is beyond is reached by strides. In tests, so few that it is.
const MOST_BLOCKS: u32 = if cfg!(test) { 3 } else { 65_535 };

/// The kernels of `kernels.ptx`, compiled for one device.
pub(super) struct Kernels {
    module: sys::Module,
    gather: sys::Function,
    cast: sys::Function,
    context: Arc<Context>,
    is_left: bool,
}

// SAFETY: handles; the driver's calls may come from any thread, also at once.
unsafe impl Send for Kernels {}
// SAFETY: as above.
unsafe impl Sync for Kernels {}

/// Where the places of a load are: addresses of a device.
#[derive(Clone, Copy)]
pub(super) struct Bases {
    pub(super) buffer: sys::DevicePointer,
    pub(super) resident: sys::DevicePointer,
}

impl Bases {
    pub(super) fn address(self, at: At) -> sys::DevicePointer {
        match at {
            At::Buffer(offset) => self.buffer + offset as u64,
            At::Resident(offset) => self.resident + offset as u64,
        }
    }

    /// The list of rows, 0 if there is none, and the first row.
    fn rows(self, rows: Rows) -> (u64, u64) {
        match rows {
            Rows::Listed { buffer, .. } => (self.address(At::Buffer(buffer)), 0),
            Rows::From(first) => (0, first),
        }
    }
}

impl Kernels {
    pub(super) fn new(context: &Arc<Context>) -> Result<Self> {
        let _current = context.enter()?;
        let mut module = ptr::null_mut();
        // SAFETY: a place for the answer, and a text that ends with a zero.
        check("cuModuleLoadData", unsafe { sys::cuModuleLoadData(&mut module, PTX.as_ptr().cast()) })?;
        let none = ptr::null_mut();
        let mut kernels =
            Kernels { module, gather: none, cast: none, context: context.clone(), is_left: false };
        kernels.gather = kernels.function(c"forebay_gather")?;
        kernels.cast = kernels.function(c"forebay_cast")?;
        Ok(kernels)
    }

    fn function(&self, name: &CStr) -> Result<sys::Function> {
        let mut function = ptr::null_mut();
        // SAFETY: a place for the answer, a module that is loaded, a name that ends with a zero.
        let code = unsafe { sys::cuModuleGetFunction(&mut function, self.module, name.as_ptr()) };
        check("cuModuleGetFunction", code).map(|()| function)
    }

    /// Queues `work`.
    ///
    /// # Safety
    ///
    /// `Load::check` found that the work's places lie within the buffer and the resident memory at `bases`, and both live until it
    /// is done.
    pub(super) unsafe fn queue(&self, work: &Work, bases: Bases, stream: &Stream) -> Result<()> {
        match work {
            Work::Set { len: 0, .. } => Ok(()),
            Work::Set { to, len, byte } => {
                let _current = self.context.enter()?;
                let to = bases.address(At::Buffer(*to));
                // SAFETY: the bytes lie in the buffer, as was promised.
                check("cuMemsetD8Async", unsafe { sys::cuMemsetD8Async(to, *byte, *len, stream.raw()) })
            }
            // SAFETY: as was promised.
            Work::Gather(gather) => unsafe { self.queue_gather(gather, bases, stream) },
            // SAFETY: as was promised.
            Work::Cast(cast) => unsafe { self.queue_cast(cast, bases, stream) },
        }
    }

    /// # Safety
    ///
    /// As [`queue`](Kernels::queue).
    unsafe fn queue_gather(&self, gather: &Gather, bases: Bases, stream: &Stream) -> Result<()> {
        let (to, from) = (bases.address(At::Buffer(gather.to)), bases.address(gather.from));
        let (rows, first) = bases.rows(gather.rows);
        let (num_rows, row_bytes) = (gather.num_rows as u64, gather.row_bytes as u64);
        // All three are multiples of the widest lane that their common bits allow.
        let lane_bytes: u32 = match (to | from | row_bytes).trailing_zeros() {
            4.. => 16,
            2..4 => 4,
            _ => 1,
        };
        let params = [
            param(&to),
            param(&from),
            param(&rows),
            param(&first),
            param(&num_rows),
            param(&row_bytes),
            param(&lane_bytes),
        ];
        // SAFETY: the parameters of `forebay_gather`, in its order and of its types, which live during the call; what it reads
        // and writes is there, as was promised.
        unsafe { self.launch(self.gather, row_bytes / u64::from(lane_bytes), num_rows, &params, stream) }
    }

    /// # Safety
    ///
    /// As [`queue`](Kernels::queue).
    unsafe fn queue_cast(&self, cast: &Cast, bases: Bases, stream: &Stream) -> Result<()> {
        let (to, from) = (bases.address(At::Buffer(cast.to)), bases.address(cast.from));
        let (rows, first) = bases.rows(cast.rows);
        let num_rows = cast.num_rows as u64;
        let valid = cast.valid.map_or(0, |valid| bases.address(At::Buffer(valid)));
        let (coefficients, run, count) = cast
            .channels
            .map_or((0, 1, 1), |table| (bases.address(At::Resident(table.at)), table.run, table.count));
        let params = [
            param(&to),
            param(&from),
            param(&rows),
            param(&first),
            param(&num_rows),
            param(&valid),
            param(&cast.null_bits),
            param(&coefficients),
            param(&cast.scale),
            param(&cast.num_elements),
            param(&run),
            param(&count),
            param(&cast.from_type.number),
            param(&cast.to_type.number),
        ];
        // SAFETY: as in `queue_gather`, of `forebay_cast`.
        unsafe { self.launch(self.cast, cast.num_elements.into(), num_rows, &params, stream) }
    }

    /// Launches as many threads as there are things in rows and rows, or as many as a grid has.
    ///
    /// # Safety
    ///
    /// `params` point to what `function` takes; what it reads and writes is there until it is done.
    unsafe fn launch(
        &self,
        function: sys::Function,
        across: u64,
        num_rows: u64,
        params: &[*mut c_void],
        stream: &Stream,
    ) -> Result<()> {
        if across == 0 || num_rows == 0 {
            return Ok(());
        }
        let threads_x = across.min(BLOCK_THREADS.into()).next_power_of_two() as c_uint;
        let threads_y = BLOCK_THREADS / threads_x;
        let blocks =
            |count: u64, threads: c_uint| count.div_ceil(threads.into()).min(MOST_BLOCKS.into()) as c_uint;
        let (blocks_x, blocks_y) = (blocks(across, threads_x), blocks(num_rows, threads_y));
        let stream = if faults::on(faults::OTHER_STREAM) { ptr::null_mut() } else { stream.raw() };
        let _current = self.context.enter()?;
        // SAFETY: as was promised; the driver reads the parameters during the call, and does not write them.
        check("cuLaunchKernel", unsafe {
            sys::cuLaunchKernel(
                function,
                blocks_x,
                blocks_y,
                1,
                threads_x,
                threads_y,
                1,
                0,
                stream,
                params.as_ptr().cast_mut(),
                ptr::null_mut(),
            )
        })
    }

    /// Leaves the module, and its context, as they are.
    pub(super) fn leak(&mut self, because: &Error) {
        self.is_left = true;
        leaks::handle(because);
    }
}

fn param<T>(value: &T) -> *mut c_void {
    ptr::from_ref(value).cast_mut().cast()
}

impl Drop for Kernels {
    fn drop(&mut self) {
        if self.is_left {
            return;
        }
        let unloaded = self.context.enter_at_last().and_then(|_current| {
            // SAFETY: a module of ours, none of whose kernels is queued any more.
            check("cuModuleUnload", unsafe { sys::cuModuleUnload(self.module) })
        });
        if let Err(error) = unloaded {
            leaks::handle(&error);
        }
    }
}
