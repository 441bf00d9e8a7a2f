//! The part of Python's pickle format that a dictionary of tensors is written in.
//!
//! A pickle is a program for a stack machine that may call any function of Python. Here every call but
//! those that make a tensor or a dictionary gives an opaque value, and unknown instructions are errors.
//! All values are entries of one list, so nothing is nested as deep as a file wants.

use std::rc::Rc;

use safetensors::Dtype;

use super::global::Global;

/// The longest text that is a name, in bytes; longer ones have no meaning here.
const LONGEST_NAME: usize = 512;

/// How many nodes, parts of nodes, remembered values, values on the stack and open marks there may be of each. A state dict
/// takes a dozen nodes for each tensor.
const MOST_VALUES: usize = 1 << 20;

/// A value: a small one itself, or the number of a node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    Integer(i64),
    Node(usize),
    /// Everything that no tensor consists of.
    Opaque,
}

/// A value with parts.
#[derive(Debug)]
pub(super) enum Node {
    Text(Rc<str>),
    /// A list or a tuple.
    Sequence(Vec<Value>),
    Dictionary(Vec<(Value, Value)>),
    Global(Global),
    /// The numbers of tensors: the name of its entry in the archive.
    Storage {
        key: Rc<str>,
        dtype: Dtype,
    },
    Tensor(Tensor),
}

/// A view of a storage.
#[derive(Debug)]
pub(super) struct Tensor {
    pub(super) storage: Rc<str>,
    pub(super) dtype: Dtype,
    /// The first number of the storage that belongs to it.
    pub(super) offset: u64,
    pub(super) shape: Vec<u64>,
    pub(super) strides: Vec<u64>,
}

/// What a pickle stands for.
#[derive(Debug)]
pub(super) struct Pickle {
    nodes: Vec<Node>,
    pub(super) root: Value,
}

impl Pickle {
    /// Reads a pickle of protocol 2 to 5.
    ///
    /// # Errors
    /// A sentence, if it is damaged, or has an instruction that no dictionary of tensors needs.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut machine = Machine { rest: bytes, ..Machine::default() };
        let damaged = || "its pickle is damaged".to_string();
        while let Some(instruction) = machine.take(1) {
            if instruction == b"." {
                let root = machine.stack.pop().ok_or_else(damaged)?;
                return Ok(Self { nodes: machine.nodes, root });
            }
            match machine.step(instruction[0]) {
                Some(true) if machine.is_too_large() => {
                    return Err("its pickle has more values than any model".into());
                }
                Some(true) => {}
                Some(false) => {
                    let code = instruction[0];
                    return Err(format!(
                        "its pickle has the instruction {code:#04x}, which is not read"
                    ));
                }
                None => return Err(damaged()),
            }
        }
        Err(damaged())
    }

    /// The node that a value is.
    pub(super) fn node(&self, value: Value) -> Option<&Node> {
        node(&self.nodes, value)
    }

    /// How many entries a dictionary has, and none anything else.
    pub(super) fn size(&self, value: Value) -> usize {
        match self.node(value) {
            Some(Node::Dictionary(pairs)) => pairs.len(),
            _ => 0,
        }
    }

    /// The entries of a dictionary whose keys are text.
    pub(super) fn entries(&self, value: Value) -> Option<Vec<(&str, Value)>> {
        let Some(Node::Dictionary(pairs)) = self.node(value) else { return None };
        let entry = |(key, value): &(Value, Value)| Some((text(&self.nodes, *key)?, *value));
        Some(pairs.iter().filter_map(entry).collect())
    }
}

/// The machine while it runs.
#[derive(Debug, Default)]
struct Machine<'a> {
    rest: &'a [u8],
    nodes: Vec<Node>,
    stack: Vec<Value>,
    /// The heights of the stack at the open marks.
    marks: Vec<usize>,
    memo: Vec<Value>,
    /// How many values have been put into tuples and dictionaries.
    parts: usize,
}

impl<'a> Machine<'a> {
    fn is_too_large(&self) -> bool {
        let most =
            [self.nodes.len(), self.stack.len(), self.marks.len(), self.memo.len(), self.parts];
        most.iter().any(|count| *count > MOST_VALUES)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// A little-endian number of at most eight bytes.
    fn number(&mut self, count: usize) -> Option<u64> {
        let bytes = self.take(count)?.iter().enumerate();
        Some(bytes.map(|(place, digit)| u64::from(*digit) << (8 * place)).sum())
    }

    fn line(&mut self) -> Option<&'a str> {
        let end = self.rest.iter().position(|byte| *byte == b'\n')?;
        let line = self.take(end)?;
        self.take(1)?;
        Some(std::str::from_utf8(line).unwrap_or_default())
    }

    fn text(&mut self, length_bytes: usize) -> Option<()> {
        let length = usize::try_from(self.number(length_bytes)?).ok()?;
        let bytes = self.take(length)?;
        if length > LONGEST_NAME {
            self.stack.push(Value::Opaque);
        } else {
            self.push(Node::Text(String::from_utf8_lossy(bytes).into()));
        }
        Some(())
    }

    fn push(&mut self, node: Node) {
        self.stack.push(Value::Node(self.nodes.len()));
        self.nodes.push(node);
    }

    /// What lies above the last mark.
    fn marked(&mut self) -> Option<Vec<Value>> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len())?;
        self.parts += self.stack.len() - mark;
        Some(self.stack.split_off(mark))
    }

    fn remember(&mut self, place: usize) -> Option<()> {
        let value = *self.stack.last()?;
        // A program counts its places up, and cannot reach far beyond the end.
        if place >= self.memo.len() + 4096 {
            return None;
        }
        if place >= self.memo.len() {
            self.memo.resize(place + 1, Value::Opaque);
        }
        self.memo[place] = value;
        Some(())
    }

    fn recall(&mut self, place: usize) -> Option<()> {
        self.stack.push(*self.memo.get(place)?);
        Some(())
    }

    /// Runs one instruction. `None` if the pickle is damaged, false if the instruction is not known.
    fn step(&mut self, instruction: u8) -> Option<bool> {
        match instruction {
            0x80 => drop(self.take(1)?),                          // PROTO
            0x95 => drop(self.take(8)?),                          // FRAME
            b'N' | 0x88 | 0x89 => self.stack.push(Value::Opaque), // NONE, NEWTRUE, NEWFALSE
            b'G' => {
                self.take(8)?; // BINFLOAT
                self.stack.push(Value::Opaque);
            }
            b'K' => self.integer(1)?, // BININT1
            b'M' => self.integer(2)?, // BININT2
            b'J' => self.integer(4)?, // BININT
            0x8a => {
                let length = self.number(1)?; // LONG1
                self.integer(usize::try_from(length).ok()?)?;
            }
            b'X' => self.text(4)?,                                // BINUNICODE
            0x8c | b'U' => self.text(1)?, // SHORT_BINUNICODE, SHORT_BINSTRING
            b'}' => self.push(Node::Dictionary(Vec::new())), // EMPTY_DICT
            b']' | b')' => self.push(Node::Sequence(Vec::new())), // EMPTY_LIST, EMPTY_TUPLE
            b'(' => self.marks.push(self.stack.len()), // MARK
            b't' => {
                let items = self.marked()?; // TUPLE
                self.push(Node::Sequence(items));
            }
            0x85..=0x87 => {
                let count = usize::from(instruction - 0x84); // TUPLE1 to TUPLE3
                let from = self.stack.len().checked_sub(count)?;
                let items = self.stack.split_off(from);
                self.push(Node::Sequence(items));
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?); // GLOBAL
                self.push(Node::Global(Global::new(module, name)));
            }
            0x93 => {
                let (name, module) = (self.stack.pop()?, self.stack.pop()?); // STACK_GLOBAL
                let [module, name] = [module, name].map(|value| text(&self.nodes, value));
                let global = Global::new(module.unwrap_or_default(), name.unwrap_or_default());
                self.push(Node::Global(global));
            }
            b'q' => {
                let place = self.number(1)? as usize; // BINPUT
                self.remember(place)?;
            }
            b'r' => {
                let place = self.number(4)? as usize; // LONG_BINPUT
                self.remember(place)?;
            }
            0x94 => self.remember(self.memo.len())?, // MEMOIZE
            b'h' => {
                let place = self.number(1)? as usize; // BINGET
                self.recall(place)?;
            }
            b'j' => {
                let place = self.number(4)? as usize; // LONG_BINGET
                self.recall(place)?;
            }
            b's' => {
                let (value, key) = (self.stack.pop()?, self.stack.pop()?); // SETITEM
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.marked()?; // SETITEMS
                self.set(&items)?;
            }
            b'a' => drop(self.stack.pop()?), // APPEND; no tensor is in a list
            b'e' => drop(self.marked()?),    // APPENDS
            b'b' => drop(self.stack.pop()?), // BUILD; only attributes
            b'Q' => self.storage()?,         // BINPERSID
            b'R' | 0x81 => self.call()?,     // REDUCE, NEWOBJ
            _ => return Some(false),
        }
        Some(true)
    }

    /// A signed number of `count` bytes; those of one or two bytes have no sign.
    fn integer(&mut self, count: usize) -> Option<()> {
        if count > 8 {
            self.take(count)?;
            self.stack.push(Value::Opaque);
            return Some(());
        }
        let number = self.number(count)?;
        let shift = 64 - 8 * count as u32;
        let signed = match count {
            0..=2 => number as i64,
            _ => (number << shift) as i64 >> shift,
        };
        self.stack.push(Value::Integer(signed));
        Some(())
    }

    /// Adds keys and values in turn to the dictionary on the stack; other objects take none.
    fn set(&mut self, items: &[Value]) -> Option<()> {
        let target = *self.stack.last()?;
        self.parts += items.len();
        if let Value::Node(number) = target
            && let Some(Node::Dictionary(pairs)) = self.nodes.get_mut(number)
        {
            pairs.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
        }
        Some(())
    }

    /// A storage, from the tuple ("storage", class, key, device, length).
    fn storage(&mut self) -> Option<()> {
        let id = self.stack.pop()?;
        let Node::Sequence(parts) = node(&self.nodes, id)? else { return None };
        let [_, class, key, ..] = parts[..] else { return None };
        let Node::Global(class) = node(&self.nodes, class)? else { return None };
        match (*class, node(&self.nodes, key)) {
            (Global::Storage(dtype), Some(Node::Text(key))) => {
                let key = key.clone();
                self.push(Node::Storage { key, dtype });
            }
            _ => self.stack.push(Value::Opaque),
        }
        Some(())
    }

    /// The value of a call.
    fn call(&mut self) -> Option<()> {
        let (arguments, function) = (self.stack.pop()?, self.stack.pop()?);
        let function = match node(&self.nodes, function) {
            Some(Node::Global(global)) => *global,
            _ => Global::Other,
        };
        let Some(Node::Sequence(arguments)) = node(&self.nodes, arguments) else { return None };
        match (function, &arguments[..]) {
            (Global::OrderedDict, []) => self.push(Node::Dictionary(Vec::new())),
            (Global::RebuildTensor, [storage, offset, shape, strides, ..]) => {
                let tensor = self.tensor(*storage, *offset, *shape, *strides)?;
                self.push(Node::Tensor(tensor));
            }
            (Global::RebuildParameter, [tensor, ..]) => {
                let tensor = *tensor;
                self.stack.push(tensor);
            }
            _ => self.stack.push(Value::Opaque),
        }
        Some(())
    }

    fn tensor(
        &self,
        storage: Value,
        offset: Value,
        shape: Value,
        strides: Value,
    ) -> Option<Tensor> {
        let Node::Storage { key, dtype } = node(&self.nodes, storage)? else { return None };
        let positive = |value: &Value| match value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            _ => None,
        };
        let list = |value: Value| match node(&self.nodes, value)? {
            Node::Sequence(items) => items.iter().map(positive).collect::<Option<Vec<u64>>>(),
            _ => None,
        };
        let (shape, strides) = (list(shape)?, list(strides)?);
        let offset = positive(&offset)?;
        // Eight dimensions are more than any weight has.
        let fits = shape.len() == strides.len() && shape.len() <= 8;
        fits.then(|| Tensor { storage: key.clone(), dtype: *dtype, offset, shape, strides })
    }
}

fn node(nodes: &[Node], value: Value) -> Option<&Node> {
    match value {
        Value::Node(number) => nodes.get(number),
        _ => None,
    }
}

fn text(nodes: &[Node], value: Value) -> Option<&str> {
    match node(nodes, value)? {
        Node::Text(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(bytes: &[u8]) -> String {
        Pickle::read(bytes).unwrap_err()
    }

    /// `{"a": (1, -2, 3)}`, as Python writes it.
    #[test]
    fn a_dictionary_is_read() {
        let bytes = b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01K\x01J\xfe\xff\xff\xffK\x03\x87q\x02s.";
        let pickle = Pickle::read(bytes).unwrap();
        let entries = pickle.entries(pickle.root).unwrap();
        assert_eq!(entries.len(), 1);
        let (key, value) = entries[0];
        let Some(Node::Sequence(items)) = pickle.node(value) else { panic!("{value:?}") };
        assert_eq!(key, "a");
        assert_eq!(items[..], [Value::Integer(1), Value::Integer(-2), Value::Integer(3)]);
    }

    /// `os.system("…")` is a value without content.
    #[test]
    fn calls_are_not_made() {
        let bytes = b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00exit\x85R.";
        assert_eq!(Pickle::read(bytes).unwrap().root, Value::Opaque);
    }

    /// Each byte of these programs makes a value, which takes many bytes of memory.
    #[test]
    fn programs_with_too_many_values_are_errors() {
        for byte in [b']', b'N', b'('] {
            let bytes = vec![byte; MOST_VALUES + 2];
            assert!(error(&bytes).contains("more values than any model"), "{byte:?}");
        }
        let long = [b"X\x00\x10\x00\x00".as_slice(), &[b'a'; 0x1000], b"."].concat();
        assert_eq!(Pickle::read(&long).unwrap().root, Value::Opaque);
    }

    #[test]
    fn damaged_programs_are_errors() {
        for bytes in [&b""[..], b"\x80\x02", b".", b"t.", b"s.", b"h\x07.", b"X\xff\xff\xff\xffa."]
        {
            assert!(error(bytes).contains("damaged"), "{bytes:?}");
        }
        assert!(error(b"Nr\xff\xff\xff\x7f.").contains("damaged"), "places far beyond the end");
        assert!(error(b"\x80\x02i").contains("0x69"));
    }
}
