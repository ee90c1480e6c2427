//! What an ONNX file says of its network: inputs, outputs and layers, read without a runtime.
//!
//! The file is a protocol buffer, a sequence of numbered fields. Of `ModelProto`, `GraphProto`, `NodeProto` and
//! `ValueInfoProto` the few fields that matter here are understood; weights are passed over.

/// A tensor's name, type and shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// ONNX's number of the type; 1 is float32, 0 not said.
    pub kind: u64,
    /// Its shape, where it is said; None for an axis that is free.
    pub shape: Option<Vec<Option<usize>>>,
}

/// A network's surface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    /// Inputs that the caller has to give.
    pub inputs: Vec<Tensor>,
    /// Outputs.
    pub outputs: Vec<Tensor>,
    /// Results of all layers, by name, in the order of the file.
    pub layers: Vec<String>,
}

/// ONNX's number of float32.
pub const FLOAT: u64 = 1;

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

/// The fields of a message; None where it breaks off.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7F).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    /// The next field's number and contents.
    fn next(&mut self) -> Option<(u64, Field<'a>)> {
        let key = self.varint()?;
        let field = match key & 7 {
            0 => Field::Number(self.varint()?),
            1 => self.take(8).map(|_| Field::Other)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Field::Other)?,
            _ => return None,
        };
        Some((key >> 3, field))
    }
}

/// Calls `each` with every field of a message; says whether the message was whole.
fn fields<'a>(message: &'a [u8], mut each: impl FnMut(u64, Field<'a>) -> Option<()>) -> Option<()> {
    let mut rest = Fields(message);
    while !rest.0.is_empty() {
        let (number, field) = rest.next()?;
        each(number, field)?;
    }
    Some(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Graph {
    /// Reads an ONNX file; says what is wrong with one that is none or breaks off.
    pub fn read(bytes: &[u8]) -> Result<Graph, String> {
        let mut graphs = Vec::new();
        let mut saw_version = false;
        let whole = fields(bytes, |number, field| {
            match (number, field) {
                (1, Field::Number(_)) => saw_version = true,
                (7, Field::Bytes(graph)) => graphs.push(graph),
                _ => {}
            }
            Some(())
        });
        let none = "it is no ONNX network";
        if whole.is_none() {
            return Err(if saw_version || bytes.first() == Some(&8) {
                "it breaks off; the ONNX file is truncated or damaged\n  next: export or copy it again".into()
            } else {
                format!(
                    "{none}\n  next: export the network with torch.onnx.export or tf2onnx; docs/guide/videos.md says how"
                )
            });
        }
        if graphs.is_empty() {
            return Err(format!("{none}: it holds no graph"));
        }
        let mut found = Graph::default();
        let mut constants = std::collections::HashSet::new();
        for graph in graphs {
            let whole = fields(graph, |number, field| {
                let Field::Bytes(bytes) = field else { return Some(()) };
                match number {
                    1 => fields(bytes, |number, field| {
                        if let (2, Field::Bytes(name)) = (number, field) {
                            found.layers.push(text(name));
                        }
                        Some(())
                    })?,
                    5 => {
                        fields(bytes, |number, field| {
                            if let (8, Field::Bytes(name)) = (number, field) {
                                constants.insert(text(name));
                            }
                            Some(())
                        })?;
                    }
                    11 => found.inputs.push(tensor(bytes)?),
                    12 => found.outputs.push(tensor(bytes)?),
                    _ => {}
                }
                Some(())
            });
            if whole.is_none() {
                return Err("its graph is damaged\n  next: export or copy it again".into());
            }
        }
        // Old files list their weights among the inputs.
        found.inputs.retain(|input| !constants.contains(&input.name));
        Ok(found)
    }
}

/// A `ValueInfoProto`: name = 1, type = 2 { tensor = 1 { element = 1, shape = 2 { dim = 1 { value = 1 } } } }.
fn tensor(bytes: &[u8]) -> Option<Tensor> {
    let mut tensor = Tensor { name: String::new(), kind: 0, shape: None };
    fields(bytes, |number, field| {
        match (number, field) {
            (1, Field::Bytes(name)) => tensor.name = text(name),
            (2, Field::Bytes(kind)) => fields(kind, |number, field| match (number, field) {
                (1, Field::Bytes(dense)) => fields(dense, |number, field| {
                    match (number, field) {
                        (1, Field::Number(kind)) => tensor.kind = kind,
                        (2, Field::Bytes(shape)) => tensor.shape = Some(axes(shape)?),
                        _ => {}
                    }
                    Some(())
                }),
                _ => Some(()),
            })?,
            _ => {}
        }
        Some(())
    })?;
    Some(tensor)
}

fn axes(shape: &[u8]) -> Option<Vec<Option<usize>>> {
    let mut axes = Vec::new();
    fields(shape, |number, field| {
        if let (1, Field::Bytes(axis)) = (number, field) {
            let mut size = None;
            fields(axis, |number, field| {
                if let (1, Field::Number(n)) = (number, field) {
                    size = usize::try_from(n).ok().filter(|&n| n > 0 && n < 1 << 40);
                }
                Some(())
            })?;
            axes.push(size);
        }
        Some(())
    })?;
    Some(axes)
}

/// The file with one more output: the result of a layer. A repeated field of a protocol buffer may be continued behind,
/// so that nothing of the file itself changes.
pub fn with_output(bytes: &[u8], layer: &str) -> Vec<u8> {
    let field = |number: u8, contents: &[u8]| {
        let mut out = vec![number << 3 | 2];
        let mut length = contents.len();
        while length >= 0x80 {
            out.push(length as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend(contents);
        out
    };
    let graph = field(12, &field(1, layer.as_bytes()));
    [bytes, &field(7, &graph)].concat()
}

/// A shape as `(N, 3, 224, 224)`.
pub fn shown(shape: &[Option<usize>]) -> String {
    let axes: Vec<String> = shape.iter().map(|n| n.map_or_else(|| "N".into(), |n| n.to_string())).collect();
    format!("({})", axes.join(", "))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn field(number: u8, contents: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2, contents.len() as u8];
        bytes.extend(contents);
        bytes
    }

    fn value(name: &str, shape: &[u8]) -> Vec<u8> {
        let axes: Vec<u8> =
            shape.iter().flat_map(|&n| field(1, &if n == 0 { field(2, b"batch") } else { vec![8, n] })).collect();
        let dense = [vec![8, 1], field(2, &axes)].concat();
        [field(1, name.as_bytes()), field(2, &field(1, &dense))].concat()
    }

    pub fn model() -> Vec<u8> {
        let node = |output: &str| field(1, &[field(1, b"x"), field(2, output.as_bytes())].concat());
        let graph = [
            node("hidden"),
            node("y"),
            field(5, &field(8, b"w")),
            field(11, &value("x", &[0, 3, 8, 8])),
            field(11, &value("w", &[4])),
            field(12, &value("y", &[0, 5])),
        ]
        .concat();
        [vec![8, 9], field(7, &graph)].concat()
    }

    #[test]
    fn inputs_outputs_and_layers_are_found_and_weights_are_no_inputs() {
        let graph = Graph::read(&model()).unwrap();
        let shape = Some(vec![None, Some(3), Some(8), Some(8)]);
        assert_eq!(graph.inputs, [Tensor { name: "x".into(), kind: FLOAT, shape }]);
        assert_eq!(graph.outputs[0].name, "y");
        assert_eq!(graph.layers, ["hidden", "y"]);
        assert_eq!(shown(graph.outputs[0].shape.as_ref().unwrap()), "(N, 5)");
    }

    #[test]
    fn a_layer_becomes_an_output() {
        let name = "hidden".repeat(40);
        let graph = Graph::read(&with_output(&model(), &name)).unwrap();
        assert_eq!(graph.outputs.iter().map(|o| o.name.as_str()).collect::<Vec<_>>(), ["y", &name]);
    }

    #[test]
    fn what_is_cut_or_no_network_is_an_error() {
        let model = model();
        for cut in 1..model.len() {
            assert!(Graph::read(&model[..cut]).is_err(), "{cut}");
        }
        assert!(Graph::read(&model[..model.len() - 3]).unwrap_err().contains("truncated"));
        assert!(Graph::read(b"\x89PNG\r\n").unwrap_err().contains("no ONNX network"));
        assert!(Graph::read(b"").unwrap_err().contains("no ONNX network"));
    }
}
