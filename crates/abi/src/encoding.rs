//! Calls as bytes: how arguments and results are written for a caller that does not know the crate of
//! an interface, such as a script or another process.
//!
//! The encoding follows from an interface's text alone. Numbers are little-endian on every target and
//! without padding, `usize` and `isize` have eight bytes, structs and arrays are their parts in order,
//! and slices, texts and buffers begin with the number of their elements in eight bytes, as a `usize`
//! has. It is read and written by the types' descriptions, so no type needs code of its own for it.
//!
//! Nothing that was sent is believed: memory is allocated only for elements whose bytes are there.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem::MaybeUninit;
use core::{fmt, slice};

use crate::call::{CallError, CallStatus, Context, ErrorReport, RawContext};
use crate::describe::{Growth, Kind, Type};
use crate::descriptor;
use crate::interface::{Interface, Layout, Reply, Returned};
use crate::memory::{OwnedBuffer, Slice};
use crate::table::Instance;

/// The function that an offer calls by bytes with. It uses the instance as the function of that place
/// does: exclusively or shared.
pub type Dispatch = unsafe extern "C" fn(
    *mut Instance,
    *const RawContext,
    u32,
    Slice<u8>,
    *mut OwnedBuffer,
    *mut ErrorReport,
) -> CallStatus;

/// Why bytes are no arguments, or no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// Which argument, from 0 on; `None` after the last one, and in a result.
    pub argument: Option<usize>,
    /// Where the reader stood, in bytes.
    pub offset: usize,
    /// What is wrong there.
    pub problem: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(argument) = self.argument {
            write!(f, "argument {argument}, ")?;
        }
        write!(f, "byte {}: {}", self.offset, self.problem)
    }
}

/// Bytes that are read from the front.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
    argument: Option<usize>,
}

impl<'a> Reader<'a> {
    /// A reader at the beginning of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0, argument: None }
    }

    /// Goes on to the next argument, for messages.
    pub fn next_argument(&mut self) -> &mut Self {
        self.argument = Some(self.argument.map_or(0, |argument| argument + 1));
        self
    }

    /// Makes sure that nothing is left.
    ///
    /// # Errors
    /// Something is.
    pub fn end(&mut self) -> Result<(), Malformed> {
        self.argument = None;
        if self.offset == self.bytes.len() { Ok(()) } else { Err(self.malformed("bytes are left")) }
    }

    pub(crate) fn malformed(&self, problem: &'static str) -> Malformed {
        Malformed { argument: self.argument, offset: self.offset, problem }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let rest = &self.bytes[self.offset..];
        let (taken, _) = rest.split_at_checked(length).ok_or_else(|| self.malformed("cut off"))?;
        self.offset += length;
        Ok(taken)
    }

    /// A count of elements of at least `width` bytes each, which are there.
    pub(crate) fn count(&mut self, width: usize) -> Result<usize, Malformed> {
        let begin = self.offset;
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.take(8)?);
        let left = self.bytes.len() - self.offset;
        match usize::try_from(u64::from_le_bytes(bytes)) {
            Ok(count) if count.checked_mul(width).is_some_and(|length| length <= left) => Ok(count),
            _ => {
                self.offset = begin;
                Err(self.malformed("more elements than bytes are left"))
            }
        }
    }

    /// Bytes with their count before them.
    pub(crate) fn counted(&mut self) -> Result<&'a [u8], Malformed> {
        let count = self.count(1)?;
        self.take(count)
    }

    /// Elements with their count before them.
    pub(crate) fn elements<T: Layout>(&mut self) -> Result<Vec<T>, Malformed> {
        let count = self.count(width(T::TYPE))?;
        let mut elements = Vec::<T>::with_capacity(count);
        for place in &mut elements.spare_capacity_mut()[..count] {
            // SAFETY: the place is aligned and has room for a `T`, which is what is described.
            unsafe { read(T::TYPE, self, place.as_mut_ptr().cast())? };
        }
        // SAFETY: each of the elements was written above, and is a value of its type.
        unsafe { elements.set_len(count) };
        Ok(elements)
    }

    /// A value of plain data.
    ///
    /// # Errors
    /// The bytes are none.
    pub fn value<T: Layout>(&mut self) -> Result<T, Malformed> {
        // SAFETY: it is plain data that its description describes.
        unsafe { self.plain(T::TYPE) }
    }

    /// A value of the wire type `W`.
    ///
    /// # Safety
    /// `of` must be plain data and describe `W`.
    pub(crate) unsafe fn plain<W>(&mut self, of: &Type) -> Result<W, Malformed> {
        let mut value = MaybeUninit::<W>::uninit();
        // SAFETY: the place has room for what the caller vouches is described, and is initialized then.
        unsafe {
            read(of, self, value.as_mut_ptr().cast())?;
            Ok(value.assume_init())
        }
    }
}

/// Writes a count and bytes.
pub(crate) fn write_counted(bytes: &[u8], output: &mut Vec<u8>) {
    output.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    output.extend_from_slice(bytes);
}

/// Writes a count and elements.
pub(crate) fn write_elements<T: Layout>(elements: &[T], output: &mut Vec<u8>) {
    output.reserve(8 + elements.len() * width(T::TYPE));
    output.extend_from_slice(&(elements.len() as u64).to_le_bytes());
    for element in elements {
        // SAFETY: it is an element of the type that is described.
        unsafe { write(T::TYPE, (&raw const *element).cast(), output) };
    }
}

/// How many bytes a value of plain data has when encoded.
fn width(of: &Type) -> usize {
    match of.kind() {
        Kind::Scalar("usize" | "isize") => 8,
        Kind::Array { of, length } => width(of) * length,
        Kind::Struct { fields, .. } => fields.iter().map(|field| width(field.of)).sum(),
        _ => of.size(),
    }
}

/// Appends the value at `at`.
///
/// # Safety
/// `of` must be plain data, and `at` point to a value of what it describes.
pub(crate) unsafe fn write(of: &Type, at: *const u8, output: &mut Vec<u8>) {
    // SAFETY: the caller vouches for the value, and the description for where its parts are.
    unsafe {
        match of.kind() {
            Kind::Scalar("usize") => {
                output.extend_from_slice(&(at.cast::<usize>().read() as u64).to_le_bytes());
            }
            Kind::Scalar("isize") => {
                output.extend_from_slice(&(at.cast::<isize>().read() as i64).to_le_bytes());
            }
            Kind::Array { of, length } => {
                (0..*length).for_each(|place| write(of, at.add(place * of.size()), output));
            }
            Kind::Struct { fields, .. } => {
                fields.iter().for_each(|field| write(field.of, at.add(field.offset), output));
            }
            _ => {
                let begin = output.len();
                output.extend_from_slice(slice::from_raw_parts(at, of.size()));
                if cfg!(target_endian = "big") {
                    output[begin..].reverse();
                }
            }
        }
    }
}

/// Reads a value to `at`.
///
/// # Safety
/// `of` must be plain data, and `at` be valid for writing what it describes.
unsafe fn read(of: &Type, reader: &mut Reader<'_>, at: *mut u8) -> Result<(), Malformed> {
    let begin = reader.offset;
    // SAFETY: the caller vouches for the place, and the description for where its parts are.
    unsafe {
        match of.kind() {
            Kind::Array { of, length } => {
                return (0..*length).try_for_each(|n| read(of, reader, at.add(n * of.size())));
            }
            Kind::Struct { fields, .. } => {
                let mut fields = fields.iter();
                return fields.try_for_each(|field| read(field.of, reader, at.add(field.offset)));
            }
            _ => {}
        }
    }
    let mut bytes = [0; 8];
    let n_bytes = width(of);
    bytes[..n_bytes].copy_from_slice(reader.take(n_bytes)?);
    let number = u64::from_le_bytes(bytes);
    let problem = match of.kind() {
        Kind::Scalar("bool") if number > 1 => Some("no `bool`"),
        Kind::Scalar("usize") if usize::try_from(number).is_err() => Some("no `usize` here"),
        Kind::Scalar("isize") if isize::try_from(number as i64).is_err() => Some("no `isize` here"),
        Kind::Enum { growth: Growth::Closed, variants, .. } => {
            let low = u64::MAX.checked_shr(64 - 8 * n_bytes as u32).unwrap_or(0);
            let is = |value: i128| value as u64 & low == number;
            (!variants.iter().any(|variant| is(variant.value))).then_some("no value of the enum")
        }
        _ => None,
    };
    if let Some(problem) = problem {
        reader.offset = begin;
        return Err(reader.malformed(problem));
    }
    let size = of.size();
    let native = number.to_ne_bytes();
    let from = if cfg!(target_endian = "big") { 8 - size } else { 0 };
    // SAFETY: as above; no number has more than eight bytes.
    unsafe { at.copy_from_nonoverlapping(native[from..].as_ptr(), size) };
    Ok(())
}

/// A call that came as bytes.
#[derive(Debug)]
pub struct Incoming<'a> {
    instance: *mut Instance,
    context: *const RawContext,
    function: u32,
    arguments: Reader<'a>,
    report: *mut ErrorReport,
}

/// Why a call that came as bytes has no reply.
#[derive(Debug)]
pub enum Stop {
    /// The interface has no function at this place.
    NoFunction,
    /// The bytes are no arguments of the function.
    Malformed(Malformed),
    /// The function answered with this status, and wrote the report.
    Answered(CallStatus),
}

impl From<Malformed> for Stop {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl<'a> Incoming<'a> {
    /// The place of the function.
    pub const fn function(&self) -> u32 {
        self.function
    }

    /// The instance, as the first argument of each function.
    pub const fn instance(&self) -> *mut Instance {
        self.instance
    }

    /// The context, as the second argument of each function.
    pub const fn context(&self) -> *const RawContext {
        self.context
    }

    /// Where the report goes, as the last argument of each function.
    pub const fn report(&self) -> *mut ErrorReport {
        self.report
    }

    /// The arguments.
    pub const fn arguments(&mut self) -> &mut Reader<'a> {
        &mut self.arguments
    }

    /// The bytes of a function's result.
    ///
    /// # Errors
    /// The function gave none.
    ///
    /// # Safety
    /// `reply` must come from a function that returns `R`.
    pub unsafe fn reply<R: Returned>(&self, reply: Reply<R::Wire>) -> Result<Vec<u8>, Stop> {
        if reply.status != CallStatus::OK {
            return Err(Stop::Answered(reply.status));
        }
        let mut output = Vec::new();
        // SAFETY: the status is `OK`, so the value is there; the caller vouches for its type.
        unsafe { R::encode(reply.value.assume_init(), &mut output) };
        Ok(output)
    }
}

/// What the `dispatch` of an offer of `I` does.
///
/// # Safety
/// As for the functions of `table`: `instance` must be one of its library that is used as the function
/// at that place allows. `input` must be lent by the caller, `output` and `report` be valid for writes.
pub unsafe fn dispatch<I: Interface + ?Sized>(
    table: &I::Table,
    (instance, context): (*mut Instance, *const RawContext),
    function: u32,
    input: Slice<u8>,
    output: *mut OwnedBuffer,
    report: *mut ErrorReport,
) -> CallStatus {
    // SAFETY: the caller lends the bytes.
    let arguments = Reader::new(unsafe { input.elements() });
    let mut call = Incoming { instance, context, function, arguments, report };
    // SAFETY: the caller vouches for the instance.
    let (status, message) = match unsafe { I::dispatch(table, &mut call) } {
        Ok(bytes) => {
            // SAFETY: the caller has room for the output.
            unsafe { output.write(bytes.into()) };
            return CallStatus::OK;
        }
        Err(Stop::Answered(status)) => return status,
        Err(Stop::NoFunction) => {
            (CallStatus::UNSUPPORTED, format!("`{}` has no function {function}", I::ID))
        }
        Err(Stop::Malformed(malformed)) => {
            let name = name::<I>(function);
            (CallStatus::INVALID_ARGUMENT, format!("`{name}`, {malformed}"))
        }
    };
    // SAFETY: the caller has room for the report.
    unsafe { report.write(ErrorReport { code: 0, message: message.into_bytes().into() }) };
    status
}

fn name<I: Interface + ?Sized>(function: u32) -> &'static str {
    descriptor::function(I::DESCRIPTOR, function).map_or("?", |function| function.name)
}

/// A way to call the functions of one interface of one instance by bytes.
pub trait Transport: Send + Sync {
    /// Calls the function at this place of the interface. Whoever made the transport sees to it that
    /// the instance is used as the function asks for.
    ///
    /// # Errors
    /// What the other side reports, or what stands between the two.
    fn call(&self, function: u32, input: &[u8], context: Context<'_>)
    -> Result<Vec<u8>, CallError>;
}

/// A transport, and the context of calls through it: what the typed proxies of interfaces call when
/// arguments are to be bytes.
pub struct Caller<'a> {
    transport: Box<dyn Transport + 'a>,
    context: Context<'a>,
}

impl fmt::Debug for Caller<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("context", &self.context).finish_non_exhaustive()
    }
}

impl<'a> Caller<'a> {
    /// Calls through `transport` on behalf of `context`.
    pub fn new(transport: impl Transport + 'a, context: Context<'a>) -> Self {
        Self { transport: Box::new(transport), context }
    }

    /// Calls a function with its encoded arguments; `read` takes the reply apart.
    ///
    /// # Errors
    /// What the transport says; `INVALID_RESULT` if the reply is none of the function.
    pub fn call<I: Interface + ?Sized, T>(
        &self,
        function: u32,
        input: &[u8],
        read: impl FnOnce(&mut Reader<'_>) -> Result<T, Malformed>,
    ) -> Result<T, CallError> {
        let reply = self.transport.call(function, input, self.context)?;
        let mut reader = Reader::new(&reply);
        let read = read(&mut reader).and_then(|value| reader.end().map(|()| value));
        read.map_err(|malformed| {
            let name = name::<I>(function);
            let message: String = format!("the reply of `{name}`, {malformed}");
            CallError { status: CallStatus::INVALID_RESULT, code: 0, message }
        })
    }
}

#[cfg(test)]
mod tests;
